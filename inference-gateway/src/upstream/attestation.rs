//! attestation-svc, over mutual TLS. Challenges that come at about the same time travel together.

use bytes::Bytes;
use health_gate::ServingPermit;
use proto::{
    attestation::v1::{
        CollectCachedEvidenceRequest, CollectCachedEvidenceResponse, CollectEvidenceRequest,
        CollectEvidenceResponse, CollectKeyManifestRequest, EvidenceChallenge,
        evidence_service_client::EvidenceServiceClient,
    },
    reason,
};
use service_runtime::TaskTracker;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, sleep},
};
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use super::{Evidence, mutual::MutualChannel, presentable};

/// For others that come at about the same time as the first.
const GATHER: Duration = Duration::from_millis(5);
/// Challenges that attestation-svc takes together.
const MOST_TOGETHER: usize = 512;

type Client = EvidenceServiceClient<MutualChannel>;

/// The client of attestation-svc; a cheap handle. The task behind it ends with the last one.
#[derive(Clone)]
pub(crate) struct AttestationSvc {
    client: Client,
    queue: mpsc::UnboundedSender<Waiting>,
}

/// One challenge; whoever has it counts among the places of its connection.
struct Waiting {
    challenge: EvidenceChallenge,
    answer: oneshot::Sender<Result<Bytes, Status>>,
    /// Of the request that it came with; a call for many is told of in the first one's.
    span: Span,
}

impl AttestationSvc {
    pub(crate) fn new(channel: MutualChannel, tracker: &TaskTracker) -> Self {
        let client = EvidenceServiceClient::new(channel);
        let (queue, waiting) = mpsc::unbounded_channel();
        tracker.spawn(gather(client.clone(), waiting, tracker.clone()));
        Self { client, queue }
    }
}

#[tonic::async_trait]
impl Evidence for AttestationSvc {
    async fn collect(&self, permit: &ServingPermit, challenge: EvidenceChallenge) -> Result<Bytes, Status> {
        permit.check()?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { challenge, answer, span: Span::current() };
        self.queue.send(waiting).map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }

    async fn cached(&self, permit: &ServingPermit) -> Result<CollectCachedEvidenceResponse, Status> {
        permit.check()?;
        let answer = self.client.clone().collect_cached_evidence(CollectCachedEvidenceRequest {}).await;
        Ok(answer.map_err(fit)?.into_inner())
    }

    async fn key_manifest(&self, permit: &ServingPermit) -> Result<Bytes, Status> {
        permit.check()?;
        let answer = self.client.clone().collect_key_manifest(CollectKeyManifestRequest {}).await;
        Ok(answer.map_err(fit)?.into_inner().key_manifest)
    }
}

async fn gather(client: Client, mut queue: mpsc::UnboundedReceiver<Waiting>, tracker: TaskTracker) {
    while let Some(first) = queue.recv().await {
        sleep(GATHER).await;
        let mut group = vec![first];
        while let Ok(next) = queue.try_recv() {
            // What is wrong with a key is wrong with all that belong to it, and with no others.
            let together = group.first().is_some_and(|first| is_of_one_key(first, &next));
            if !together || group.len() == MOST_TOGETHER {
                tracker.spawn(ask(client.clone(), std::mem::take(&mut group)));
            }
            group.push(next);
        }
        tracker.spawn(ask(client.clone(), group));
    }
}

fn is_of_one_key(one: &Waiting, other: &Waiting) -> bool {
    one.challenge.leaf_spki_sha256 == other.challenge.leaf_spki_sha256
}

/// Who has gone meanwhile misses nothing.
async fn ask(mut client: Client, group: Vec<Waiting>) {
    let span = group.first().map_or_else(Span::none, |first| first.span.clone());
    let (challenges, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|one| (one.challenge, one.answer)).unzip();
    let answered = client.collect_evidence(CollectEvidenceRequest { challenges }).instrument(span).await;
    match answered.map_err(fit).map(tonic::Response::into_inner) {
        Ok(CollectEvidenceResponse { own, shared }) if own.len() == answers.len() => {
            for (own, answer) in own.iter().zip(answers) {
                drop(answer.send(Ok([own.as_ref(), &shared].concat().into())));
            }
        }
        Ok(_) => drop(answers),
        Err(status) => answers.into_iter().for_each(|answer| drop(answer.send(Err(status.clone())))),
    }
}

fn stopping() -> Status {
    let message = "attestation-svc did not answer as it should, or the gateway stops; retry later";
    proto::status(Code::Unavailable, reason::EVIDENCE_UNAVAILABLE, message)
}

fn fit(status: Status) -> Status {
    let message = "attestation-svc cannot be reached; retry later";
    presentable(status, reason::EVIDENCE_UNAVAILABLE, message)
}
