//! Public challenges, answered together: one report for all that have come by the time it is asked for.
//!
//! A report is started at most every [`ReportLimits::every`], so that no host throttles us on strangers' account, and
//! never while another public one is made. Each caller gets the place of its own challenge in the report's nonce tree.

use std::sync::Arc;
use std::time::Duration;

use snp_evidence::{Bundle, Challenge, Evidence, NonceTree, Purpose, ReportData, TreePosition, leaf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::authority::Authority;
use crate::manifest::Published;
use crate::prover::{Lane, ProverError, ReportLimits};

/// For others that come at about the same time as the first.
const GATHER: Duration = Duration::from_millis(20);

/// Where challenges wait for the next report; a cheap handle. The task behind it ends with the last one.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    queue: mpsc::Sender<Waiting>,
    limits: ReportLimits,
}

/// What all callers of one report are told where there is none.
pub(crate) type Answer = Result<Part, Arc<ProverError>>;

#[derive(Debug)]
struct Waiting {
    nonce_and_binder: [u8; 48],
    answer: oneshot::Sender<Answer>,
}

/// The place of one challenge in a report.
#[derive(Debug)]
pub(crate) struct Part {
    report: Arc<Report>,
    index: u32,
}

#[derive(Debug)]
struct Report {
    evidence: Evidence,
    tree: NonceTree,
    manifest: Arc<Published>,
    authority: Arc<Authority>,
}

impl Batches {
    pub(crate) fn start(authority: Arc<Authority>) -> Self {
        let limits = authority.judge.prover.limits.clone();
        let (queue, waiting) = mpsc::channel(limits.waiting);
        drop(tokio::spawn(serve(authority, waiting, limits.every)));
        Self { queue, limits }
    }

    /// A bundle for `challenge`, whose purpose is [`Purpose::Fresh`].
    pub(crate) async fn bundle(&self, challenge: &Challenge) -> Result<Vec<u8>, Arc<ProverError>> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { nonce_and_binder: leaf(&challenge.nonce, &challenge.binder), answer };
        self.queue.try_send(waiting).map_err(|_| Arc::new(ProverError::Crowded(self.limits.waiting)))?;
        let answer = timeout(self.limits.call, answered).await;
        let answer = answer.map_err(|_| Arc::new(ProverError::Late(self.limits.call)))?;
        Ok(answer.map_err(|_| Arc::new(ProverError::Stopped))??.bundle(challenge))
    }
}

impl Part {
    fn bundle(&self, challenge: &Challenge) -> Vec<u8> {
        let Report { evidence, tree, manifest, authority } = &*self.report;
        let position = TreePosition::new(tree.len(), self.index, &tree.path(self.index));
        Bundle::new(challenge, position, evidence, &manifest.bytes, &authority.claims).to_bytes()
    }
}

async fn serve(authority: Arc<Authority>, mut queue: mpsc::Receiver<Waiting>, every: Duration) {
    let mut next = Instant::now();
    while let Some(first) = queue.recv().await {
        sleep_until(next.max(Instant::now() + GATHER)).await;
        next = Instant::now() + every;
        let mut waiting = vec![first];
        while let Ok(another) = queue.try_recv() {
            waiting.push(another);
        }
        answer(&authority, waiting).await;
    }
}

async fn answer(authority: &Arc<Authority>, waiting: Vec<Waiting>) {
    let tree = NonceTree::new(waiting.iter().map(|one| one.nonce_and_binder).collect());
    let report = report(authority, tree).await.map(Arc::new).map_err(Arc::new);
    for (index, one) in (0..).zip(waiting) {
        let part = report.as_ref().map(|report| Part { report: Arc::clone(report), index });
        // Who has gone meanwhile misses nothing.
        drop(one.answer.send(part.map_err(Arc::clone)));
    }
}

/// Manifest and claims are those of the moment in which the report is asked for.
async fn report(authority: &Arc<Authority>, tree: NonceTree) -> Result<Report, ProverError> {
    let manifest = authority.manifests.current();
    let data = ReportData::compute(Purpose::Fresh, &tree.root(), &manifest.bytes, &authority.claims);
    let evidence = authority.evidence(Lane::Public, data).await?;
    authority.metrics.answered_together(tree.len());
    Ok(Report { evidence, tree, manifest, authority: Arc::clone(authority) })
}
