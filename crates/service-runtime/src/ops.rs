//! What operators' probes ask, over plaintext: whether the process lives, whether it can serve, and
//! its metrics. Nothing here holds content, and no other route can be put on these listeners.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::{StatusCode, header};
use proto::reason;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::{
    accept::{ConnectionLimits, Incoming, Server, no_scope},
    config::Observability,
    metrics::Registry,
    observer::{Observer, RequestMetrics, Routes, TraceContext},
};

/// Open connections to one of these ports: a few probes and scrapers.
const CONNECTIONS: usize = 64;
/// Where a service that signs shows its keys (RFC 7517).
pub const JWKS: &str = "/.well-known/jwks.json";
/// OpenMetrics 1.0, "Overall Structure".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Something that has to hold for a service to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Such as `lease`.
    pub name: &'static str,
    /// Whether it holds now.
    pub holds: bool,
}

/// The ports of a process for probes and scrapers, served until this is dropped.
pub struct Ops {
    health: Arc<Health>,
    bound: Vec<SocketAddr>,
    _end: DropGuard,
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {address} cannot be bound: {source}")]
pub struct OpsError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// What the health port answers with, once the service knows.
#[derive(Default)]
struct Health {
    ready: OnceLock<Box<dyn Fn() -> Vec<Condition> + Send + Sync>>,
    own: OnceLock<Router>,
}

impl Ops {
    /// Binds the ports that `observability` names, before anything else is waited for, so that a
    /// process that waits for its lease is seen to live.
    pub async fn start(
        observability: &Observability,
        registry: Registry,
        requests: &RequestMetrics,
        tracker: &TaskTracker,
    ) -> Result<Self, OpsError> {
        let (health, end) = (Arc::new(Health::default()), CancellationToken::new());
        let mut bound = Vec::new();
        let ports = [
            ("health.listen", observability.health, health_routes(health.clone())),
            ("metrics.listen", observability.metrics, metrics_routes(registry)),
        ];
        for (key, address, router) in ports {
            let Some(address) = address else { continue };
            let refused = |source| OpsError { key, address, source };
            let listener = TcpListener::bind(address).await.map_err(refused)?;
            bound.push(listener.local_addr().map_err(refused)?);
            tracing::info!(key, %address, "answering probes");
            let name = key.trim_end_matches(".listen");
            let server = server(name, router, requests.clone());
            tracker.spawn(server.serve(Incoming::Plaintext(listener), end.clone()));
        }
        Ok(Self { health, bound, _end: end.drop_guard() })
    }

    /// Where the ports are: health before metrics.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// From now on the service is ready while every condition of `ready` holds, and `own` serves
    /// `grpc.health.v1`, and the service's public keys where it has any. Said once.
    pub fn ready_when(&self, own: Router, ready: impl Fn() -> Vec<Condition> + Send + Sync + 'static) {
        // A second time would be a defect, and changes nothing.
        drop(self.health.ready.set(Box::new(ready)));
        drop(self.health.own.set(own));
    }
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

fn server(name: &'static str, router: Router, requests: RequestMetrics) -> Server {
    let routes = Routes::new(&["/livez", "/readyz", "/metrics", JWKS], &["grpc.health.v1.Health"]);
    Server {
        router,
        tls: None,
        scope: no_scope(),
        limits: ConnectionLimits { connections: CONNECTIONS, ..ConnectionLimits::default() },
        recycle: watch::channel(0).1,
        observer: Observer::new(name, TraceContext::Linked, routes, requests),
    }
}

fn health_routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/grpc.health.v1.Health/{*method}", any(of_the_service))
        .route(JWKS, any(of_the_service))
        .with_state(health)
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    let starting = || vec![Condition { name: "started", holds: false }];
    let conditions = health.ready.get().map_or_else(starting, |ready| ready());
    let ready = conditions.iter().all(|condition| condition.holds);
    let line = |Condition { name, holds }| format!("{name} {}\n", if holds { "ok" } else { "failed" });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, conditions.into_iter().map(line).collect())
}

async fn of_the_service(State(health): State<Arc<Health>>, request: Request) -> Response {
    match health.own.get() {
        Some(router) => router.clone().oneshot(request).await.into_response(),
        None => not_started().into_http(),
    }
}

fn not_started() -> Status {
    let message = "the service has not started yet; retry";
    proto::status(Code::Unavailable, reason::ATTESTATION_LAPSED, message)
}

fn metrics_routes(registry: Registry) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    match registry.scrape() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
