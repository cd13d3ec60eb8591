//! A busy or throttled device is asked again, until it answers otherwise or the caller's deadline is over.

use std::time::Duration;

use snp_evidence::{Evidence, ReportData};
use snp_platform::PlatformError;
use tokio::time::sleep;

use super::{Lane, Prover, ProverError};

/// Before the second try; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// As long as Linux' own driver pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Prover {
    /// A report and what the host offers with it, however often it takes. `last` is what the device answered to the last
    /// try.
    pub(super) async fn patiently(
        &self,
        lane: Lane,
        report_data: ReportData,
        last: &mut Option<PlatformError>,
    ) -> Result<Evidence, ProverError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.attempt(lane, report_data).await? {
                Err(error) if error.is_transient() => *last = Some(error),
                made => return Ok(made?),
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use snp_evidence::{Binder, Challenge, Endorsements, EvidenceFormat, Purpose};
    use snp_platform::Platform;
    use tokio::time::Instant;

    use super::*;
    use crate::prover::{Committed, ReportLimits, tests::no_collateral};

    const LIMIT: Duration = Duration::from_mins(1);

    /// Is busy or throttled for some calls, and then has an answer.
    #[derive(Debug)]
    struct Throttling {
        transient: usize,
        then: fn() -> Result<Evidence, PlatformError>,
        calls: Calls,
    }

    const ANSWERING: fn() -> Result<Evidence, PlatformError> = || {
        let (format, endorsements) = (EvidenceFormat::SimulatedAmdSevSnp, Endorsements::default());
        Ok(Evidence { format, report: vec![], endorsements })
    };

    /// For which report data the device was called.
    type Calls = Arc<Mutex<Vec<[u8; 64]>>>;

    impl Platform for Throttling {
        fn format(&self) -> EvidenceFormat {
            EvidenceFormat::SimulatedAmdSevSnp
        }

        fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
            let place = "/dev/sev-guest".to_owned();
            let mut calls = self.calls.lock().unwrap();
            calls.push(*report_data);
            match calls.len() {
                call if call > self.transient => (self.then)(),
                call if call % 2 == 0 => Err(PlatformError::Busy { place }),
                _ => Err(PlatformError::Throttled { place }),
            }
        }
    }

    fn throttling(transient: usize, then: fn() -> Result<Evidence, PlatformError>) -> (Calls, Prover) {
        let calls = Calls::default();
        let device = Throttling { transient, then, calls: Arc::clone(&calls) };
        (calls, Prover::new(Box::new(device), no_collateral(), ReportLimits::default()))
    }

    fn data(nonce: u8) -> ReportData {
        let challenge = Challenge { purpose: Purpose::Boot, nonce: [nonce; 32], binder: Binder::none() };
        Committed::default().report_data(&challenge)
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_device_is_asked_again_after_longer_and_longer_pauses() {
        for lane in [Lane::Inside, Lane::Public] {
            let (calls, prover) = throttling(7, ANSWERING);
            let began = Instant::now();
            prover.evidence(lane, data(0), LIMIT).await.unwrap();
            assert_eq!(calls.lock().unwrap().len(), 8);
            let pauses = [100, 200, 400, 800, 1600, 2000, 2000].iter().sum();
            assert_eq!(began.elapsed(), Duration::from_millis(pauses));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_throttled_for_too_long_is_given_up_with_its_last_answer() {
        let (_, prover) = throttling(usize::MAX, ANSWERING);
        let began = Instant::now();
        let error = prover.evidence(Lane::Inside, data(0), LIMIT).await.unwrap_err();
        assert!(matches!(error, ProverError::GivenUp { limit: LIMIT, .. }), "{error}");
        assert_eq!(began.elapsed(), LIMIT);
        assert!(prover.turn.try_lock().is_ok(), "nobody is at the device");
    }

    #[tokio::test(start_paused = true)]
    async fn what_will_not_pass_is_not_tried_again() {
        let lie = || Err(PlatformError::OtherReportData { place: "/dev/sev-guest".to_owned() });
        let (calls, prover) = throttling(1, lie);
        let error = prover.evidence(Lane::Inside, data(0), LIMIT).await.unwrap_err();
        assert!(matches!(error, ProverError::Platform(PlatformError::OtherReportData { .. })), "{error}");
        assert_eq!(calls.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_pauses_another_has_its_turn() {
        let (calls, prover) = throttling(1, ANSWERING);
        let (public, inside) = tokio::join!(
            prover.evidence(Lane::Public, data(0), LIMIT),
            prover.evidence(Lane::Inside, data(1), LIMIT),
        );
        assert!(public.is_ok() && inside.is_ok());
        let order = [data(0), data(1), data(0)].map(|data| *data.as_bytes());
        assert_eq!(*calls.lock().unwrap(), order);
    }
}
