//! `grpc.health.v1`: whether this gateway serves. The only thing that answers while
//! the gate is shut.

use std::pin::Pin;

use futures_util::{Stream, stream};
use health_gate::Gate;
use proto::reason;
use service_runtime::CancellationToken;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

/// Names that are asked for; the empty one stands for the whole gateway.
const NAMES: [&str; 3] = ["", "cube.inference.v1.InferenceService", "cube.attestation.v1.AttestationService"];

/// Health as the gate and the drain have it.
#[derive(Clone, Debug)]
pub(crate) struct GateHealth {
    pub(crate) gate: Gate,
    /// Cancelled when the gateway begins to stop.
    pub(crate) draining: CancellationToken,
}

impl GateHealth {
    fn now(&self) -> ServingStatus {
        if self.gate.is_open() && !self.draining.is_cancelled() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for GateHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(request.get_ref()) {
            let message = "no such service; ask for \"\" or a service of this gateway";
            return Err(proto::status(Code::NotFound, reason::UNKNOWN_METHOD, message));
        }
        Ok(Response::new(response(self.now())))
    }

    type WatchStream = Statuses;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Statuses>, Status> {
        let health = self.clone();
        let unknown = !is_known(request.get_ref());
        let watch = Watch { open: health.gate.watch(), health, unknown, sent: None };
        Ok(Response::new(Box::pin(stream::unfold(watch, Watch::next))))
    }
}

fn is_known(request: &HealthCheckRequest) -> bool {
    NAMES.contains(&request.service.as_str())
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// One watcher: the status now, each change, and the end with the drain.
struct Watch {
    open: watch::Receiver<bool>,
    health: GateHealth,
    /// A name that may, as the protocol has it, become known one day; here it will not.
    unknown: bool,
    sent: Option<ServingStatus>,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            // Before looking, so that no change between looking and waiting is lost.
            self.open.mark_unchanged();
            let status = if self.unknown { ServingStatus::ServiceUnknown } else { self.health.now() };
            if self.sent != Some(status) {
                self.sent = Some(status);
                return Some((Ok(response(status)), self));
            }
            if self.health.draining.is_cancelled() {
                return None;
            }
            tokio::select! {
                () = self.health.draining.cancelled() => {}
                changed = self.open.changed() => changed.ok()?,
            }
        }
    }
}
