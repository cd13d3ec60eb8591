//! The one way to the secure processor. It has a single mailbox, so calls take turns.
//!
//! Anybody may cause public calls, so these take turns among themselves first, and only the first of
//! them waits for the mailbox: whatever the crowd, boot and enrolment wait for one public report.

mod retry;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use collateral::{Keeper, Unavailable};
use snp_evidence::{Bundle, Challenge, Evidence, EvidenceFormat, ReportData, TreePosition};
use snp_platform::{Platform, PlatformError};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bounds on reports.
#[derive(Debug, Clone)]
pub struct ReportLimits {
    /// For each report at boot, its certificates apart; a host that throttles makes the driver wait.
    pub boot: Duration,
    /// For a report that a caller waits for, waiting for its turn included.
    pub call: Duration,
    /// Public calls that wait for the first of them.
    pub waiting: usize,
}

impl Default for ReportLimits {
    fn default() -> Self {
        Self { boot: Duration::from_mins(1), call: Duration::from_secs(5), waiting: 64 }
    }
}

/// Makes evidence for challenges.
#[derive(Debug)]
pub(crate) struct Prover {
    platform: Arc<dyn Platform>,
    collateral: Arc<Keeper>,
    pub(crate) limits: ReportLimits,
    public: PublicLane,
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

/// Where public calls wait for each other.
#[derive(Debug)]
struct PublicLane {
    waiting: usize,
    places: Arc<Semaphore>,
    first: Arc<Mutex<()>>,
}

/// The first place of the public lane.
type First = (OwnedMutexGuard<()>, OwnedSemaphorePermit);

impl PublicLane {
    fn new(waiting: usize) -> Self {
        Self { waiting, places: Arc::new(Semaphore::new(1 + waiting)), first: Arc::default() }
    }

    /// A place in the lane, once it is the first.
    async fn first(&self) -> Result<First, ProverError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| ProverError::Crowded(self.waiting))?;
        Ok((Arc::clone(&self.first).lock_owned().await, place))
    }
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
        let public = PublicLane::new(limits.waiting);
        Self {
            platform: platform.into(),
            collateral,
            limits,
            public,
            turn: Arc::default(),
            own_waits: AtomicUsize::new(0),
        }
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
        let (bare, _place) = match (made, last) {
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

    /// One turn at the device; gives the place in the public lane back.
    async fn attempt(
        &self,
        lane: Lane,
        first: Option<First>,
        report_data: ReportData,
    ) -> Result<(Option<First>, Result<Evidence, PlatformError>), ProverError> {
        let turn = self.turn(lane).await;
        let platform = Arc::clone(&self.platform);
        let work = spawn_blocking(move || {
            // A call that outlives its deadline keeps its turn: the mailbox is still taken.
            let (_turn, first) = (turn, first);
            (first, platform.evidence(report_data.as_bytes()))
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
    /// More public calls than may wait.
    #[error("{0} public calls wait for a report already")]
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

    use futures_util::{FutureExt, poll};
    use service_runtime::{ManualClock, Registry};
    use snp_evidence::{Binder, Purpose, TrustRoots};
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    /// Long enough for what does come.
    const DEADLINE: Duration = Duration::from_secs(5);
    const WAITING: usize = 3;

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
        let limits = ReportLimits { waiting: WAITING, ..ReportLimits::default() };
        (go, Prover::new(device, no_collateral(), limits))
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
    /// A full lane: one public call has the device, and [`WAITING`] wait.
    async fn crowd(prover: &Arc<Prover>) -> JoinSet<Result<Evidence, ProverError>> {
        let mut crowd = JoinSet::new();
        for _ in 0..=WAITING {
            let prover = Arc::clone(prover);
            crowd.spawn(async move { prover.evidence(Lane::Public, data(), DEADLINE).await });
        }
        while prover.public.places.available_permits() > 0 {
            yield_now().await;
        }
        crowd
    }

    #[tokio::test]
    async fn one_public_call_at_most_is_served_before_an_enrolment() {
        let (go, prover) = stuck();
        let prover = Arc::new(prover);
        let crowd = crowd(&prover).await;
        let mut enrolment = pin!(prover.evidence(Lane::Inside, data(), DEADLINE));
        assert!(poll!(&mut enrolment).is_pending());

        go.send(()).unwrap();
        go.send(()).unwrap();
        enrolment.await.unwrap();
        (0..WAITING).for_each(|_| go.send(()).unwrap());
        assert!(crowd.join_all().await.iter().all(Result::is_ok));
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

    #[tokio::test]
    async fn a_public_call_too_many_is_refused_at_once() {
        let (go, prover) = stuck();
        let prover = Arc::new(prover);
        let crowd = crowd(&prover).await;
        let refused = prover.evidence(Lane::Public, data(), DEADLINE).now_or_never();
        assert!(matches!(refused, Some(Err(ProverError::Crowded(WAITING)))));
        (0..=WAITING).for_each(|_| go.send(()).unwrap());
        assert!(crowd.join_all().await.iter().all(Result::is_ok));
        assert_eq!(prover.public.places.available_permits(), 1 + WAITING);
    }

    #[tokio::test]
    async fn a_public_call_that_is_given_up_stays_the_first_of_its_lane() {
        let (go, prover) = stuck();
        let short = Duration::from_millis(20);
        assert!(matches!(prover.evidence(Lane::Public, data(), short).await, Err(ProverError::Late(_))));
        let mut next = pin!(prover.evidence(Lane::Public, data(), DEADLINE));
        assert!(poll!(&mut next).is_pending());
        let mut enrolment = pin!(prover.evidence(Lane::Inside, data(), DEADLINE));
        assert!(poll!(&mut enrolment).is_pending());

        // One for the call that was given up, one for the enrolment.
        go.send(()).unwrap();
        go.send(()).unwrap();
        enrolment.await.unwrap();
        go.send(()).unwrap();
        next.await.unwrap();
    }
}
