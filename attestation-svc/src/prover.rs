//! The one way to the secure processor. It has a single mailbox, so calls take turns.
//!
//! Anybody may cause public reports, so there is one of them at a time, for all who ask (`batch.rs`):
//! whatever the crowd, boot and enrolment wait for one public report.

mod retry;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use collateral::{Keeper, Unavailable};
use snp_evidence::{Bundle, Challenge, Evidence, EvidenceFormat, ReportData, TreePosition};
use snp_platform::{Platform, PlatformError};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bounds on reports.
#[derive(Debug, Clone)]
pub struct ReportLimits {
    /// For each report at boot, its certificates apart; a host that throttles makes the driver wait.
    pub boot: Duration,
    /// For a report that a caller waits for, waiting for its turn included.
    pub call: Duration,
    /// Public challenges that wait for a report.
    pub waiting: usize,
    /// From the end of one public report to the start of the next.
    pub every: Duration,
}

impl Default for ReportLimits {
    fn default() -> Self {
        Self {
            boot: Duration::from_mins(1),
            call: Duration::from_secs(5),
            waiting: 16_384,
            every: Duration::from_secs(1),
        }
    }
}

/// Makes evidence for challenges.
#[derive(Debug)]
pub(crate) struct Prover {
    platform: Arc<dyn Platform>,
    collateral: Arc<Keeper>,
    pub(crate) limits: ReportLimits,
    turn: Arc<Mutex<()>>,
    /// How often attestation-svc itself waits for a turn.
    own_waits: AtomicUsize,
}

/// On whose behalf a report is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lane {
    /// attestation-svc itself, which goes before everybody and waits for certificates that have to be fetched.
    Own,
    /// A service that enrols.
    Inside,
    /// Anybody who can reach the gateway.
    Public,
}

/// What a report commits to beside the challenge, whose purpose and binder the RPC decides and never a message: exact
/// bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Committed<'a> {
    pub(crate) manifest: &'a [u8],
    pub(crate) claims: &'a [u8],
}

impl Committed<'_> {
    /// The `report_data` of a challenge answered alone.
    pub(crate) fn report_data(self, challenge: &Challenge) -> ReportData {
        challenge.report_data_alone(self.manifest, self.claims)
    }

    /// Evidence bundle v1 of a challenge answered alone.
    pub(crate) fn bundle(self, challenge: &Challenge, evidence: &Evidence) -> Vec<u8> {
        Bundle::new(challenge, TreePosition::single(), evidence, self.manifest, self.claims).to_bytes()
    }
}

impl Prover {
    pub(crate) fn new(platform: Box<dyn Platform>, collateral: Arc<Keeper>, limits: ReportLimits) -> Self {
        let (platform, turn, own_waits) = (platform.into(), Arc::default(), AtomicUsize::new(0));
        Self { platform, collateral, limits, turn, own_waits }
    }

    pub(crate) fn format(&self) -> EvidenceFormat {
        self.platform.format()
    }

    pub(crate) fn simulated(&self) -> bool {
        self.format() == EvidenceFormat::SimulatedAmdSevSnp
    }

    /// A report over `report_data` within `limit`, waiting and further tries included; with its certificates, for which a
    /// boot waits as long as they may take, and anybody else once more for `limit`.
    pub(crate) async fn evidence(
        &self,
        lane: Lane,
        report_data: ReportData,
        limit: Duration,
    ) -> Result<Evidence, ProverError> {
        let mut last = None;
        let made = timeout(limit, self.patiently(lane, report_data, &mut last)).await;
        let bare = match (made, last) {
            (Ok(made), _) => made?,
            (Err(_), Some(last)) => return Err(ProverError::GivenUp { limit, last }),
            (Err(_), None) => return Err(ProverError::Late(limit)),
        };
        let endorsed = match lane {
            Lane::Own => self.collateral.endorse_patiently(bare).await,
            Lane::Inside | Lane::Public => self.collateral.endorse(bare, limit).await,
        };
        Ok(endorsed?)
    }

    /// A turn at the device. Whoever has it while attestation-svc waits queues up again, behind it.
    async fn turn(&self, lane: Lane) -> OwnedMutexGuard<()> {
        let _waiting = matches!(lane, Lane::Own).then(|| OwnWaits::begin(&self.own_waits));
        loop {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            if matches!(lane, Lane::Own) || self.own_waits.load(Ordering::Acquire) == 0 {
                return turn;
            }
        }
    }

    /// One turn at the device.
    async fn attempt(
        &self,
        lane: Lane,
        report_data: ReportData,
    ) -> Result<Result<Evidence, PlatformError>, ProverError> {
        let turn = self.turn(lane).await;
        let platform = Arc::clone(&self.platform);
        let work = spawn_blocking(move || {
            // A call that outlives its deadline keeps its turn: the mailbox is still taken.
            let _turn = turn;
            platform.evidence(report_data.as_bytes())
        });
        work.await.map_err(|_| ProverError::Stopped)
    }
}

/// attestation-svc waits for a turn, until this is dropped.
struct OwnWaits<'a>(&'a AtomicUsize);

impl<'a> OwnWaits<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for OwnWaits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProverError {
    /// The device refused.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Nobody has a certificate or list that it needs.
    #[error(transparent)]
    Collateral(#[from] Unavailable),
    /// More public challenges than may wait.
    #[error("{0} public challenges wait for a report already")]
    Crowded(usize),
    /// The device did not answer, or others kept it busy.
    #[error(
        "the secure processor gave no report within {0:?}: the host may hold it up; look into the kernel log of guest and host"
    )]
    Late(Duration),
    /// The device was busy or throttled to the end.
    #[error("the secure processor gave no report within {limit:?}; at the last try, {last}")]
    GivenUp {
        /// For how long it was asked.
        limit: Duration,
        /// Its last answer.
        last: PlatformError,
    },
    /// The blocking task was stopped.
    #[error("the report was given up")]
    Stopped,
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use futures_util::poll;
    use service_runtime::{ManualClock, Registry};
    use snp_evidence::{Binder, Purpose, TrustRoots};

    use super::*;

    /// Long enough for what does come.
    const DEADLINE: Duration = Duration::from_secs(5);

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
        let device = Box::new(Stuck(std::sync::Mutex::new(wait)));
        (go, Prover::new(device, no_collateral(), ReportLimits::default()))
    }

    /// It has nothing, and nowhere to look.
    pub(super) fn no_collateral() -> Arc<Keeper> {
        let (clock, metrics) =
            (Arc::new(ManualClock::new(0)), collateral::Metrics::register(&mut Registry::default()));
        let nothing = Keeper::new(collateral::Config::default(), false, TrustRoots::amd(), clock, metrics);
        Arc::new(nothing.unwrap())
    }

    fn data() -> ReportData {
        let challenge = Challenge { purpose: Purpose::Boot, nonce: [0; 32], binder: Binder::none() };
        Committed::default().report_data(&challenge)
    }

    #[tokio::test]
    async fn a_stuck_device_is_given_up_and_keeps_its_turn() {
        let (go, prover) = stuck();
        let short = Duration::from_millis(20);
        assert!(matches!(prover.evidence(Lane::Inside, data(), short).await, Err(ProverError::Late(_))));
        assert!(prover.turn.try_lock().is_err(), "the mailbox is still taken");
        assert!(matches!(prover.evidence(Lane::Inside, data(), short).await, Err(ProverError::Late(_))));

        // One for the call that was given up, one for the next.
        go.send(()).unwrap();
        go.send(()).unwrap();
        prover.evidence(Lane::Inside, data(), DEADLINE).await.unwrap();
    }

    #[tokio::test]
    async fn attestation_svc_itself_goes_before_whoever_came_first() {
        let (go, prover) = stuck();
        let mut at_work = pin!(prover.evidence(Lane::Inside, data(), DEADLINE));
        let mut enrolment = pin!(prover.evidence(Lane::Inside, data(), DEADLINE));
        let mut own = pin!(prover.evidence(Lane::Own, data(), DEADLINE));
        for call in [&mut at_work, &mut enrolment, &mut own] {
            assert!(poll!(call).is_pending());
        }
        go.send(()).unwrap();
        at_work.await.unwrap();
        go.send(()).unwrap();
        tokio::select! {
            biased;
            made = &mut own => drop(made.unwrap()),
            _ = &mut enrolment => panic!("an enrolment overtook"),
        }
        go.send(()).unwrap();
        enrolment.await.unwrap();
    }

    #[tokio::test]
    async fn who_no_longer_waits_holds_up_nobody() {
        let (go, prover) = stuck();
        let mut at_work = pin!(prover.evidence(Lane::Inside, data(), DEADLINE));
        assert!(poll!(&mut at_work).is_pending());
        let given_up = prover.evidence(Lane::Own, data(), Duration::from_millis(20)).await;
        assert!(matches!(given_up, Err(ProverError::Late(_))));
        go.send(()).unwrap();
        go.send(()).unwrap();
        at_work.await.unwrap();
        prover.evidence(Lane::Inside, data(), DEADLINE).await.unwrap();
    }
}
