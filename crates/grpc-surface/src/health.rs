//! `grpc.health.v1`: whether a listener serves.

use std::{collections::BTreeSet, fmt, sync::Arc};

use futures_util::stream::{self, BoxStream};
use proto::reason;
use service_runtime::CancellationToken;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health as HealthService,
};

/// What health says of every service of a listener alike.
#[derive(Clone)]
pub struct Serving {
    now: Arc<dyn Fn() -> bool + Send + Sync>,
    changes: watch::Receiver<bool>,
    stopping: CancellationToken,
}

impl Serving {
    /// SERVING while `now` says so, which watchers ask at each of `changes`, and until `stopping`.
    pub fn new(
        now: impl Fn() -> bool + Send + Sync + 'static,
        changes: watch::Receiver<bool>,
        stopping: CancellationToken,
    ) -> Self {
        Self { now: Arc::new(now), changes, stopping }
    }

    /// SERVING from the start until `stopping`.
    pub fn until(stopping: CancellationToken) -> Self {
        Self::new(|| true, watch::channel(true).1, stopping)
    }

    fn status(&self) -> ServingStatus {
        if !self.stopping.is_cancelled() && (self.now)() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Serving").field(&self.status()).finish()
    }
}

/// Answers for one listener.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    serving: Serving,
    names: Arc<BTreeSet<&'static str>>,
}

impl Health {
    /// Knows `services`, and the empty name, which stands for all of them.
    pub(crate) fn new(serving: Serving, services: &[&'static str]) -> Self {
        Self { serving, names: Arc::new(services.iter().copied().chain([""]).collect()) }
    }

    fn knows(&self, request: &HealthCheckRequest) -> bool {
        self.names.contains(request.service.as_str())
    }
}

type Statuses = BoxStream<'static, Result<HealthCheckResponse, Status>>;

#[tonic::async_trait]
impl HealthService for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(request.get_ref()) {
            let message = "no such service; ask for \"\" or a service of this listener";
            return Err(proto::status(Code::NotFound, reason::UNKNOWN_METHOD, message));
        }
        Ok(Response::new(response(self.serving.status())))
    }

    type WatchStream = Statuses;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Statuses>, Status> {
        let unknown = !self.knows(request.get_ref());
        let watch = Watch { serving: self.serving.clone(), unknown, sent: None };
        Ok(Response::new(Box::pin(stream::unfold(watch, Watch::next))))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// One watcher: the status now, each change, and the end with the stop, which it does not hold up.
struct Watch {
    serving: Serving,
    /// A name that may, as the protocol has it, become known one day; here it will not.
    unknown: bool,
    sent: Option<ServingStatus>,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            // Before looking, so that no change between looking and waiting is lost.
            self.serving.changes.mark_unchanged();
            let status = if self.unknown { ServingStatus::ServiceUnknown } else { self.serving.status() };
            if self.sent != Some(status) {
                self.sent = Some(status);
                return Some((Ok(response(status)), self));
            }
            if self.serving.stopping.is_cancelled() {
                return None;
            }
            self.changed().await;
        }
    }

    async fn changed(&mut self) {
        let Serving { changes, stopping, .. } = &mut self.serving;
        let changed = async {
            // Without a sender nothing changes any more but by the stop.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = changed => {}
        }
    }
}

#[cfg(test)]
mod tests;
