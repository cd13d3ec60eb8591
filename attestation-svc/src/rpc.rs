//! The services, one file each; and what their refusals have in common.

pub(crate) mod admin;
pub(crate) mod authz;
pub(crate) mod evidence;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod secrets;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use proto::reason;
use tonic::{Code, Request, Status};

use crate::enrolment::Session;
use crate::prover::ProverError;

/// A stream of answers.
pub(crate) type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// The connection's session; the accept loop puts one into every request.
fn session<T>(request: &Request<T>) -> Result<Arc<Session>, Status> {
    request.extensions().get().cloned().ok_or_else(|| internal("a request without session"))
}

/// A nonce is 32 bytes.
fn nonce(bytes: &Bytes) -> Result<[u8; 32], Status> {
    exactly_32(bytes).ok_or_else(|| {
        let message = format!("nonce is {} bytes, need 32 random bytes", bytes.len());
        proto::status(Code::InvalidArgument, reason::NONCE_INVALID, message)
    })
}

fn exactly_32(bytes: &Bytes) -> Option<[u8; 32]> {
    bytes.as_ref().try_into().ok()
}

/// Outsiders learn only that it may pass; the detail is for the log of whoever calls this.
fn unavailable(error: &ProverError) -> Status {
    let message = match error {
        ProverError::Crowded(_) => "busy; retry",
        ProverError::Platform(_)
        | ProverError::Collateral(_)
        | ProverError::Late(_)
        | ProverError::GivenUp { .. }
        | ProverError::Stopped => "the secure processor gives no report right now; retry",
    };
    proto::status(Code::Unavailable, reason::EVIDENCE_UNAVAILABLE, message)
}

fn invalid(message: impl Into<String>) -> Status {
    proto::status(Code::InvalidArgument, reason::INVALID_REQUEST, message)
}

fn internal(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "call failed");
    proto::status(Code::Internal, reason::INTERNAL, "a defect in attestation-svc; see its log")
}
