//! Public challenges, answered together: one report for all that have come by the time it is asked for.
//!
//! One public report is made at a time, and [`ReportLimits::every`] passes between two of them, so that no host throttles
//! us on strangers' account. Each caller gets the place of its own challenge in the report's nonce tree.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use snp_evidence::{Bundle, Challenge, NonceTree, Purpose, ReportData, TreePosition, leaf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::authority::Authority;
use crate::prover::{Lane, ProverError, ReportLimits};

/// For others that come at about the same time as the first.
const GATHER: Duration = Duration::from_millis(20);

/// Where challenges wait for the next report; a cheap handle. The task behind it ends with the last one.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    queue: mpsc::UnboundedSender<Waiting>,
    /// For as many challenges as may wait.
    places: Arc<Semaphore>,
    limits: ReportLimits,
}

/// What all callers of one report are told where there is none.
type Answer = Result<Part, Arc<ProverError>>;

/// Challenges of one caller.
#[derive(Debug)]
struct Waiting {
    leaves: Vec<[u8; 48]>,
    answer: oneshot::Sender<Answer>,
    /// One for each leaf, as long as they wait.
    _places: OwnedSemaphorePermit,
}

/// The places of one caller's challenges in a report.
#[derive(Debug)]
struct Part {
    report: Arc<Report>,
    first: u32,
}

#[derive(Debug)]
struct Report {
    tree: NonceTree,
    shared: Bytes,
}

/// Bundles in two parts: what each has of its own, and what they share.
#[derive(Debug)]
pub(crate) struct Bundles {
    pub(crate) own: Vec<Bytes>,
    pub(crate) shared: Bytes,
}

impl Batches {
    pub(crate) fn start(authority: Arc<Authority>) -> Self {
        let limits = authority.judge.prover.limits.clone();
        let (queue, waiting) = mpsc::unbounded_channel();
        let places = Arc::new(Semaphore::new(limits.waiting.min(Semaphore::MAX_PERMITS)));
        drop(tokio::spawn(serve(authority, waiting, limits.every)));
        Self { queue, places, limits }
    }

    /// Bundles for `challenges`, at most [`u32::MAX`], whose purpose is [`Purpose::Fresh`].
    pub(crate) async fn bundles(&self, challenges: &[Challenge]) -> Result<Bundles, Arc<ProverError>> {
        let crowded = || Arc::new(ProverError::Crowded(self.limits.waiting));
        let count = u32::try_from(challenges.len()).map_err(|_| crowded())?;
        let places = Arc::clone(&self.places).try_acquire_many_owned(count).map_err(|_| crowded())?;
        let leaves = challenges.iter().map(|one| leaf(&one.nonce, &one.binder)).collect();
        let (answer, answered) = oneshot::channel();
        let stopped = || Arc::new(ProverError::Stopped);
        self.queue.send(Waiting { leaves, answer, _places: places }).map_err(|_| stopped())?;
        let answer = timeout(self.limits.call, answered).await;
        let answer = answer.map_err(|_| Arc::new(ProverError::Late(self.limits.call)))?;
        Ok(answer.map_err(|_| stopped())??.bundles(challenges))
    }
}

impl Part {
    fn bundles(&self, challenges: &[Challenge]) -> Bundles {
        let tree = &self.report.tree;
        let own = (self.first..).zip(challenges).map(|(index, challenge)| {
            Bundle::own(challenge, TreePosition::new(tree.len(), index, &tree.path(index))).into()
        });
        Bundles { own: own.collect(), shared: self.report.shared.clone() }
    }
}

async fn serve(authority: Arc<Authority>, mut queue: mpsc::UnboundedReceiver<Waiting>, every: Duration) {
    let mut next = Instant::now();
    while let Some(first) = queue.recv().await {
        sleep_until(next.max(Instant::now() + GATHER)).await;
        let mut batch = Batch::default();
        batch.take(first);
        while let Ok(another) = queue.try_recv() {
            batch.take(another);
        }
        batch.answer(&authority).await;
        // A busy device may have kept it waiting, and counts from when it began in the end.
        next = Instant::now() + every;
    }
}

/// All who are answered by the next report.
#[derive(Default)]
struct Batch {
    leaves: Vec<[u8; 48]>,
    /// Each with the place of its first leaf.
    callers: Vec<(u32, oneshot::Sender<Answer>)>,
}

impl Batch {
    /// From here on its places are others'.
    fn take(&mut self, waiting: Waiting) {
        let first = u32::try_from(self.leaves.len()).unwrap_or(u32::MAX);
        self.leaves.extend(waiting.leaves);
        self.callers.push((first, waiting.answer));
    }

    async fn answer(self, authority: &Authority) {
        let report = report(authority, NonceTree::new(self.leaves)).await.map(Arc::new).map_err(Arc::new);
        for (first, answer) in self.callers {
            let part = report.as_ref().map(|report| Part { report: Arc::clone(report), first });
            // Who has gone meanwhile misses nothing.
            drop(answer.send(part.map_err(Arc::clone)));
        }
    }
}

/// Manifest and claims are those of the moment in which the report is asked for.
async fn report(authority: &Authority, tree: NonceTree) -> Result<Report, ProverError> {
    let (manifest, claims) = (authority.manifests.current(), &authority.claims);
    let data = ReportData::compute(Purpose::Fresh, &tree.root(), &manifest.bytes, claims);
    let evidence = authority.evidence(Lane::Public, data).await?;
    authority.metrics.answered_together(tree.len());
    let shared = Bundle::shared(&evidence, &manifest.bytes, claims).into();
    Ok(Report { tree, shared })
}
