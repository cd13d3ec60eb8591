//! `HealthService`: each heartbeat is answered, with a token where one is asked for; and what voids
//! tokens is told as it happens.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use proto::attestation::v1::health_service_server::HealthService;
use proto::attestation::v1::{LeaseRequest, LeaseResponse, Revocation};
use service_runtime::CancellationToken;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::authority::Authority;
use crate::enrolment::{Holder, Session};
use crate::roster::{Epochs, Roster};
use crate::rpc::{Answers, internal, invalid, nonce, session};

/// As the audit log names it.
const CALL: &str = "Lease";

/// `sequence` of an answer to no heartbeat.
const NOTICE: u64 = 0;

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
        let role = session.identity.role;
        if let Err(refused) = session.holder() {
            self.authority.audit.refused(role, CALL, &refused).await;
            return Err(refused);
        }
        let lease = Lease {
            authority: Arc::clone(&self.authority),
            changes: session.identity.changes(),
            session,
            beats: request.into_inner(),
            answered: 0,
            told: None,
        };
        let answers = stream::try_unfold(lease, |mut lease| async {
            let next = lease.next().await;
            if let Err(refused) = &next {
                lease.authority.audit.refused(lease.session.identity.role, CALL, refused).await;
            }
            Ok(next?.map(|answer| (answer, lease)))
        });
        Ok(Response::new(answers.take_until(self.shutdown.clone().cancelled_owned()).boxed()))
    }
}

/// One stream. It keeps the session, and so the holder's place, as long as it lives.
struct Lease {
    authority: Arc<Authority>,
    session: Arc<Session>,
    beats: Streaming<LeaseRequest>,
    changes: watch::Receiver<Roster>,
    answered: u64,
    /// By the last message; `None` before the first.
    told: Option<Epochs>,
}

impl Lease {
    /// The next message; `None` where the stream is over, an error where the identity is.
    async fn next(&mut self) -> Result<Option<LeaseResponse>, Status> {
        loop {
            if self.session.holder()?.place.told_to_renew() {
                return Ok(None);
            }
            tokio::select! {
                beat = self.beats.message() => {
                    return match beat? {
                        Some(beat) => self.answer(&beat).await.map(Some),
                        None => Ok(None),
                    };
                }
                // The sender lives as long as the session.
                Ok(()) = self.changes.changed() => if let Some(notice) = self.notice() {
                    return Ok(Some(notice));
                },
            }
        }
    }

    async fn answer(&mut self, beat: &LeaseRequest) -> Result<LeaseResponse, Status> {
        let expected = self.answered.wrapping_add(1);
        if beat.sequence != expected {
            return Err(invalid(format!("heartbeat {} came, {expected} is next", beat.sequence)));
        }
        self.answered = expected;
        let asked = (!beat.token_nonce.is_empty()).then(|| nonce(&beat.token_nonce)).transpose()?;
        let holder = self.session.holder()?;
        let epochs = holder.place.heartbeat(self.authority.clock.boot())?;
        if asked.is_some() {
            self.authority.audit.token(self.session.identity.role).await?;
        }
        // After the epochs were read, since what closes from here on voids them; and after the record, which may have taken
        // its time.
        self.authority.vouching.check()?;
        let token = asked.map_or(Ok(String::new()), |nonce| self.token(nonce, holder, &epochs))?;
        Ok(self.message(expected, epochs, token))
    }

    fn token(&self, nonce: [u8; 32], holder: &Holder, epochs: &Epochs) -> Result<String, Status> {
        let token = self.authority.token(holder, nonce, epochs.epoch).map_err(internal)?;
        holder.place.granted();
        Ok(token)
    }

    /// What has changed since the last message, where anything has. The first message is an answer.
    fn notice(&mut self) -> Option<LeaseResponse> {
        let epochs = self.changes.borrow_and_update().epochs();
        let news = self.told.as_ref().is_some_and(|told| *told != epochs);
        news.then(|| self.message(NOTICE, epochs, String::new()))
    }

    fn message(&mut self, sequence: u64, epochs: Epochs, health_token: String) -> LeaseResponse {
        let ca = self.authority.keys.ca();
        let revocations = epochs.revocations.iter();
        let revocations = revocations
            .map(|(role, min_epoch)| Revocation {
                identity: ca.identity(*role).to_string(),
                min_epoch: *min_epoch,
            })
            .collect();
        let Epochs { epoch, min_epoch, .. } = epochs;
        self.told = Some(epochs);
        LeaseResponse { sequence, epoch, min_epoch, health_token, revocations }
    }
}
