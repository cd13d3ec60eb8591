//! What the gateway asks of the services behind it. No call can be made without
//! leave to serve: each takes the [`ServingPermit`] of the request that it is for.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use health_gate::ServingPermit;
use proto::{
    attestation::v1::{CollectCachedEvidenceResponse, EvidenceChallenge},
    backend::v1::{Endpoint, relay_response::Part},
    inference::v1::{ChatEvent, Model},
    reason,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{callers::Caller, request_id::RequestId, spec::ValidSpec};

mod adapter;
mod attestation;
mod mutual;

pub(crate) use adapter::Adapter;
pub(crate) use attestation::AttestationSvc;
pub(crate) use mutual::MutualChannel;

/// Events of one answer. Dropping it cancels the work behind it.
pub type EventStream = BoxStream<'static, Result<ChatEvent, Status>>;

/// Parts of one relayed answer. Dropping it cancels the work behind it.
pub type PartStream = BoxStream<'static, Result<Part, Status>>;

/// One request in a dialect of the model server's own.
#[derive(Debug)]
pub struct RelayCall {
    /// Cube's identifier of the request.
    pub request_id: RequestId,
    /// What is asked of the model server.
    pub endpoint: Endpoint,
    /// Media type of the body; empty for JSON.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// Leave out what tells of nothing but usage.
    pub strip_usage: bool,
    /// The answer comes piece by piece.
    pub streamed: bool,
    /// When the caller gives up, where that is known.
    pub deadline: Option<Instant>,
}

/// One chat request on its way to the backend.
#[derive(Debug)]
pub struct Call {
    /// Cube's identifier of the request.
    pub request_id: RequestId,
    /// What is asked.
    pub spec: ValidSpec,
    /// When the caller gives up, where that is known.
    pub deadline: Option<Instant>,
    /// Whose it is.
    pub(crate) caller: Caller,
}

impl Call {
    /// A request of `caller`, if the model is one that it may ask.
    pub(crate) fn of(
        caller: &Caller,
        request_id: RequestId,
        spec: ValidSpec,
        deadline: Option<Instant>,
    ) -> Result<Self, Status> {
        caller.may_ask(spec.model())?;
        Ok(Self { request_id, spec, deadline, caller: caller.clone() })
    }

    /// Keeps the caller apart from others in what the model server remembers.
    pub fn cache_salt(&self) -> &str {
        self.caller.salt()
    }
}

/// The backend-adapter, as seen from here.
#[tonic::async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Runs one chat request.
    async fn generate(&self, permit: &ServingPermit, call: Call) -> Result<EventStream, Status>;
    /// Passes one request on.
    async fn relay(&self, permit: &ServingPermit, call: RelayCall) -> Result<PartStream, Status>;
    /// The backend's models, in its order.
    async fn models(&self, permit: &ServingPermit) -> Result<Vec<Model>, Status>;
}

/// The attestation-svc, as seen from here.
#[tonic::async_trait]
pub trait Evidence: Send + Sync + 'static {
    /// Makes evidence for a client's nonce and connection: a bundle, as exact bytes.
    async fn collect(&self, permit: &ServingPermit, challenge: EvidenceChallenge) -> Result<Bytes, Status>;
    /// The newest report by which attestation-svc accepted its machine: for nobody's nonce and no connection.
    async fn cached(&self, permit: &ServingPermit) -> Result<CollectCachedEvidenceResponse, Status>;
    /// The key manifest, as exact bytes.
    async fn key_manifest(&self, permit: &ServingPermit) -> Result<Bytes, Status>;
}

/// A status fit for strangers: Cube's own as it is, anything else (the transport's,
/// a library's) as `unavailable` or a defect, without its text.
fn presentable(status: Status, unavailable: &'static str, message: &'static str) -> Status {
    if proto::reason_of(&status).is_some() {
        return status;
    }
    if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) {
        return proto::status(Code::Unavailable, unavailable, message);
    }
    if status.code() == Code::DeadlineExceeded {
        return crate::chat::timed_out("deadline");
    }
    // So tonic says that a message is larger than it takes.
    if status.code() == Code::OutOfRange {
        let message = "an event is larger than limits.frame_bytes of the gateway";
        return proto::status(Code::Internal, reason::BACKEND_PROTOCOL, message);
    }
    proto::status(Code::Internal, reason::INTERNAL, "a service behind the gateway failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_not_passed_on() {
        for code in
            [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal, Code::DeadlineExceeded]
        {
            let status = presentable(Status::new(code, "secret"), reason::ADAPTER_UNAVAILABLE, "gone");
            assert!(!status.message().contains("secret") && proto::reason_of(&status).is_some(), "{code:?}");
        }
        let own = proto::status(Code::NotFound, reason::MODEL_NOT_FOUND, "no model m");
        assert_eq!(presentable(own, reason::ADAPTER_UNAVAILABLE, "gone").message(), "no model m");
    }
}
