//! `HealthService`: each heartbeat is answered, with a token where one is asked for.

use std::sync::Arc;

use futures_util::StreamExt;
use proto::attestation::v1::health_service_server::HealthService;
use proto::attestation::v1::{LeaseRequest, LeaseResponse};
use proto::reason;
use service_runtime::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::authority::{Authority, EPOCH};
use crate::enrolment::Session;
use crate::rpc::{Answers, internal, nonce, session};

/// On an enrolment socket.
#[derive(Debug, Clone)]
pub(crate) struct Leases {
    pub(crate) authority: Arc<Authority>,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl HealthService for Leases {
    type LeaseStream = Answers<LeaseResponse>;

    /// A stop ends the stream, so that holders look for the next instance at once.
    async fn lease(
        &self,
        request: Request<Streaming<LeaseRequest>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        let session = session(&request)?;
        session.holder()?;
        let mut lease = Lease { authority: Arc::clone(&self.authority), session, answered: 0 };
        let answers = request.into_inner().map(move |beat| lease.answer(&beat?));
        Ok(Response::new(answers.take_until(self.shutdown.clone().cancelled_owned()).boxed()))
    }
}

/// One stream. It keeps the session, and so the holder's place, as long as it lives.
struct Lease {
    authority: Arc<Authority>,
    session: Arc<Session>,
    answered: u64,
}

impl Lease {
    fn answer(&mut self, beat: &LeaseRequest) -> Result<LeaseResponse, Status> {
        let expected = self.answered.wrapping_add(1);
        if beat.sequence != expected {
            let message = format!("heartbeat {} came, {expected} is next", beat.sequence);
            return Err(proto::status(Code::InvalidArgument, reason::INVALID_REQUEST, message));
        }
        self.answered = expected;
        let health_token = if beat.token_nonce.is_empty() { String::new() } else { self.token(beat)? };
        Ok(LeaseResponse { sequence: expected, epoch: EPOCH, min_epoch: EPOCH, health_token })
    }

    fn token(&self, beat: &LeaseRequest) -> Result<String, Status> {
        let nonce = nonce(&beat.token_nonce)?;
        self.authority.token(self.session.holder()?, nonce).map_err(internal)
    }
}
