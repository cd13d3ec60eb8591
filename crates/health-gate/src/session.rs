//! One enrolment and the lease stream on its connection.

use std::{sync::Arc, time::Duration};

use health_token::HealthToken;
use proto::attestation::v1::{LeaseRequest, LeaseResponse, health_service_client::HealthServiceClient};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    enrol::{EnrolError, Enroller, Enrolment},
    lease::{Answer, Answered, Lease},
    random,
    term::reached,
    trust::{LeastEpochs, Trust},
};

/// For the answer to the first heartbeat.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Half the life of an SVID, which a new enrolment renews.
const RENEW_IDENTITY: Duration = Duration::from_mins(30);
/// `sequence` of an answer to no heartbeat.
const NOTICE: u64 = 0;
/// Heartbeats that may wait for the transport; it takes them at once or is not working.
const QUEUE: usize = 4;

/// A live enrolment.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) enrolment: Enrolment,
    pub(crate) lease: Lease,
    requests: mpsc::Sender<LeaseRequest>,
    answers: Streaming<LeaseResponse>,
    renew_at: Duration,
}

/// A token of this process's own, just verified.
pub(crate) type OwnToken = Arc<str>;

impl Session {
    /// Enrols and takes the first lease. What is `known` of the same start of attestation-svc holds
    /// on: its least epochs do not go back.
    pub(crate) async fn establish(
        enroller: &Enroller,
        known: Option<Arc<Trust>>,
    ) -> Result<(Self, OwnToken), EnrolError> {
        let renew_at = enroller.clock.boot() + RENEW_IDENTITY;
        let mut enrolment = enroller.enrol().await?;
        if let Some(known) = known.filter(|known| known.boot_seed == enrolment.trust.boot_seed) {
            enrolment.trust.least.raise(&known.least);
        }
        let mut lease = Lease::following(enrolment.trust.least.of(&enrolment.trust.identity));
        let (requests, queue) = mpsc::channel(QUEUE);
        beat(&mut lease, &requests, enroller)?;
        let mut client = HealthServiceClient::new(enrolment.connection.clone());
        let first = async {
            let mut answers = client.lease(ReceiverStream::new(queue)).await?.into_inner();
            let answer = answers.message().await?.ok_or(EnrolError::Ended)?;
            Ok::<_, EnrolError>((answers, answer))
        };
        let (answers, answer) =
            timeout(FIRST_ANSWER, first).await.map_err(|_| EnrolError::Silent("Lease", FIRST_ANSWER))??;
        let mut session = Self { enrolment, lease, requests, answers, renew_at };
        let token = session.take(answer, enroller)?;
        Ok((session, token.ok_or(EnrolError::NoToken)?))
    }

    /// Goes on by one heartbeat or one answer. Returns a new token, where one came.
    pub(crate) async fn step(&mut self, enroller: &Enroller) -> Result<Option<OwnToken>, EnrolError> {
        let wake_at = self.lease.next_due().min(self.lease.silent_at()).min(self.renew_at);
        tokio::select! {
            answer = self.answers.message() => self.take(answer?.ok_or(EnrolError::Ended)?, enroller),
            () = reached(&*enroller.clock, wake_at) => self.tick(enroller).map(|()| None),
        }
    }

    fn tick(&mut self, enroller: &Enroller) -> Result<(), EnrolError> {
        let now = enroller.clock.boot();
        if now >= self.lease.silent_at() {
            return Err(EnrolError::Silent("heartbeats", crate::lease::LAPSE));
        }
        if now >= self.renew_at {
            return Err(EnrolError::Renewal);
        }
        beat(&mut self.lease, &self.requests, enroller)
    }

    fn take(&mut self, response: LeaseResponse, enroller: &Enroller) -> Result<Option<OwnToken>, EnrolError> {
        let LeaseResponse { sequence, epoch, min_epoch, health_token, revocations } = response;
        let trust = &mut self.enrolment.trust;
        let least = LeastEpochs::told(min_epoch, revocations)?;
        let (min_epoch, has_token) = (least.of(&trust.identity), !health_token.is_empty());
        let answered = if sequence == NOTICE && !has_token {
            self.lease.noticed(epoch, min_epoch).map(|()| None)
        } else {
            self.lease.answered(Answer { sequence, epoch, min_epoch, has_token }).map(Some)
        };
        let answered = answered?;
        trust.least.raise(&least);
        let Some(Answered::Token(grant)) = answered else {
            return Ok(None);
        };
        let token = trust.own_token(&health_token, &grant.nonce, enroller.clock.unix())?;
        self.lease.granted(&grant, token.claims().hep, life(&token));
        Ok(Some(health_token.into()))
    }
}

fn beat(
    lease: &mut Lease,
    requests: &mpsc::Sender<LeaseRequest>,
    enroller: &Enroller,
) -> Result<(), EnrolError> {
    let beat = lease.heartbeat(enroller.clock.boot(), random::bytes()?);
    let token_nonce = beat.token_nonce.map(|nonce| nonce.to_vec()).unwrap_or_default();
    let request = LeaseRequest { sequence: beat.sequence, token_nonce: token_nonce.into() };
    requests.try_send(request).map_err(|_| EnrolError::Ended)
}

fn life(token: &HealthToken) -> Duration {
    token.remaining(token.claims().iat)
}
