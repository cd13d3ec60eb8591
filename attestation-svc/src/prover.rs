//! The one way to the secure processor. It has a single mailbox, so calls take turns.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use collateral::CollateralError;
use snp_evidence::{
    Binder, Bundle, Evidence, EvidenceFormat, NonceTree, Purpose, ReportData, TreePosition, leaf,
};
use snp_platform::{Platform, PlatformError};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// For a report that a caller waits for, waiting for its turn included.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Makes evidence for challenges.
#[derive(Debug)]
pub(crate) struct Prover {
    platform: Arc<dyn Platform>,
    collateral: Option<PathBuf>,
    turn: Arc<Mutex<()>>,
}

/// What a report is made for. The RPC decides it, never a message.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) purpose: Purpose,
    pub(crate) nonce: [u8; 32],
    pub(crate) binder: Binder,
}

/// What a report commits to beside the challenge: exact bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Committed<'a> {
    pub(crate) manifest: &'a [u8],
    pub(crate) claims: &'a [u8],
}

impl Challenge {
    /// The `report_data` of a challenge answered alone.
    pub(crate) fn report_data(&self, committed: Committed<'_>) -> ReportData {
        let root = NonceTree::new(vec![leaf(&self.nonce, &self.binder)]).root();
        ReportData::compute(self.purpose, &root, committed.manifest, committed.claims)
    }

    /// Evidence bundle v1 of a challenge answered alone.
    pub(crate) fn bundle(&self, evidence: &Evidence, committed: Committed<'_>) -> Vec<u8> {
        let Committed { manifest, claims } = committed;
        let position = TreePosition::single();
        Bundle::new(self.purpose, self.nonce, &self.binder, position, evidence, manifest, claims).to_bytes()
    }
}

impl Prover {
    pub(crate) fn new(platform: Box<dyn Platform>, collateral: Option<PathBuf>) -> Self {
        Self { platform: platform.into(), collateral, turn: Arc::default() }
    }

    pub(crate) fn simulated(&self) -> bool {
        self.platform.format() == EvidenceFormat::SimulatedAmdSevSnp
    }

    /// A report over `report_data` with its certificates, within `limit`, waiting included.
    pub(crate) async fn evidence(
        &self,
        report_data: ReportData,
        limit: Duration,
    ) -> Result<Evidence, ProverError> {
        let made = timeout(limit, async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let (platform, directory) = (Arc::clone(&self.platform), self.collateral.clone());
            let work = spawn_blocking(move || {
                // A call that outlives its deadline keeps its turn: the mailbox is still taken.
                let _turn = turn;
                let evidence = platform.evidence(report_data.as_bytes())?;
                Ok(collateral::complete(evidence, directory.as_deref())?)
            });
            work.await.map_err(|_| ProverError::Stopped)?
        });
        made.await.map_err(|_| ProverError::Late(limit))?
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProverError {
    /// The device refused.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The folder of certificates cannot be used.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// The device did not answer, or others kept it busy.
    #[error("the secure processor gave no report within {0:?}")]
    Late(Duration),
    /// The blocking task was stopped.
    #[error("the report was given up")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Answers each call once it is let go.
    #[derive(Debug)]
    struct Stuck(std::sync::Mutex<Receiver<()>>);

    impl Platform for Stuck {
        fn format(&self) -> EvidenceFormat {
            EvidenceFormat::SimulatedAmdSevSnp
        }

        fn evidence(&self, _: &[u8; 64]) -> Result<Evidence, PlatformError> {
            self.0.lock().unwrap().recv().unwrap();
            Ok(Evidence {
                format: self.format(),
                report: vec![],
                endorsements: snp_evidence::Endorsements::default(),
            })
        }
    }

    fn stuck() -> (Sender<()>, Prover) {
        let (go, wait) = channel();
        (go, Prover::new(Box::new(Stuck(std::sync::Mutex::new(wait))), None))
    }

    fn data() -> ReportData {
        let challenge = Challenge { purpose: Purpose::Boot, nonce: [0; 32], binder: Binder::none() };
        challenge.report_data(Committed::default())
    }

    #[tokio::test]
    async fn a_stuck_device_is_given_up_and_keeps_its_turn() {
        let (go, prover) = stuck();
        let short = Duration::from_millis(20);
        assert!(matches!(prover.evidence(data(), short).await, Err(ProverError::Late(_))));
        assert!(prover.turn.try_lock().is_err(), "the mailbox is still taken");
        assert!(matches!(prover.evidence(data(), short).await, Err(ProverError::Late(_))));

        // One for the call that was given up, one for the next.
        go.send(()).unwrap();
        go.send(()).unwrap();
        prover.evidence(data(), DEADLINE).await.unwrap();
    }
}
