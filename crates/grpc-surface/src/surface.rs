//! One listener's gRPC, put together.

use std::{convert::Infallible, fmt};

use axum::{Router, body::Body, extract::Request, middleware::from_fn_with_state, response::IntoResponse};
use tonic::server::NamedService;
use tonic_health::pb::health_server::{HealthServer, SERVICE_NAME as HEALTH};
use tonic_reflection::pb::{
    v1::server_reflection_server::SERVICE_NAME as REFLECTION,
    v1alpha::server_reflection_server::SERVICE_NAME as REFLECTION_ALPHA,
};
use tower::Service;
use tracing::error;

use crate::{
    guard::{Callers, Methods, guard, unknown_method},
    health::{Health, Serving},
    reflection,
};

/// What every listener serves besides its own.
pub const EVERYWHERE: [&str; 3] = [HEALTH, REFLECTION, REFLECTION_ALPHA];
/// Bytes of a question to one of those.
pub(crate) const MAX_QUESTION: usize = 16 * 1024;

/// What one listener serves over gRPC.
pub struct Surface {
    callers: Callers,
    services: Vec<&'static str>,
    router: Router,
}

impl Surface {
    /// Nothing yet, for a listener that knows its callers as `callers` says.
    pub fn new(callers: Callers) -> Self {
        Self { callers, services: Vec::new(), router: Router::new() }
    }

    /// Also serves `service`.
    #[must_use]
    pub fn serve<S>(mut self, service: S) -> Self
    where
        S: Service<Request, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.services.push(S::NAME);
        self.router = self.router.route_service(&format!("/{}/{{*method}}", S::NAME), service);
        self
    }

    /// The routes, with health and both versions of reflection, behind the guard; and what the table says
    /// of them. Everything else is an unknown method; a router that merges this one may give it another
    /// fallback.
    pub fn finish(self, serving: Serving) -> (Router, Methods) {
        let mut services = self.services.clone();
        services.extend(EVERYWHERE);
        services.sort_unstable();
        let methods = Methods::new(self.callers, &services);
        let health = Health::new(serving, &services);
        let mut surface = self.serve(HealthServer::new(health).max_decoding_message_size(MAX_QUESTION));
        match reflection::servers(&services) {
            Ok((v1, v1alpha)) => surface = surface.serve(v1).serve(v1alpha),
            Err(error) => error!(%error, "a defect: this listener has no reflection"),
        }
        let router = surface.router.fallback(async || unknown_method().into_http::<Body>());
        (router.layer(from_fn_with_state(methods.clone(), guard)), methods)
    }
}

/// `grpc.health.v1` alone, of `services`, for a listener that probes ask without credentials.
pub fn health(serving: Serving, services: &[&'static str]) -> Router {
    let health = Health::new(serving, services);
    let server = HealthServer::new(health).max_decoding_message_size(MAX_QUESTION);
    Router::new().route_service(&format!("/{HEALTH}/{{*method}}"), server)
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surface").field("services", &self.services).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
