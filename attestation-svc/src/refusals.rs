//! Strangers decide how many evidence calls are refused, but not how much of that is logged.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service_runtime::Clock;
use tracing::warn;

use crate::prover::ProverError;

/// From one line to the next.
const INTERVAL: Duration = Duration::from_secs(10);

/// Tells the operator of the first refusal at once, and of all that follow in one line per
/// [`INTERVAL`]. The last of a burst are told with the next refusal.
#[derive(Debug)]
pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    quiet_until: Duration,
    untold: u64,
}

impl Refusals {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, tally: Mutex::default() }
    }

    /// Counts a call that `error` refused, and logs where a line is due.
    pub(crate) fn log(&self, error: &ProverError) {
        if let Some(calls) = self.due() {
            warn!(%error, calls, "evidence cannot be had");
        }
    }

    /// How many calls the line that is due now stands for.
    fn due(&self) -> Option<u64> {
        let now = self.clock.boot();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.untold = tally.untold.saturating_add(1);
        if now < tally.quiet_until {
            return None;
        }
        tally.quiet_until = now.saturating_add(INTERVAL);
        Some(mem::take(&mut tally.untold))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use service_runtime::ManualClock;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// How many lines there were, and the sum of their counts.
    #[derive(Debug, Default, Clone)]
    struct Log(Arc<(AtomicU64, AtomicU64)>);

    impl Visit for Log {
        fn record_u64(&mut self, field: &Field, value: u64) {
            assert_eq!(field.name(), "calls");
            self.0.1.fetch_add(value, Ordering::SeqCst);
        }

        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            self.0.0.fetch_add(1, Ordering::SeqCst);
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_flood_is_one_line_per_interval_with_a_count() {
        let clock = Arc::new(ManualClock::new(0));
        let refusals = Refusals::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let log = Log::default();
        let told = || (log.0.0.load(Ordering::SeqCst), log.0.1.load(Ordering::SeqCst));
        tracing::subscriber::with_default(log.clone(), || {
            let flood = || (0..1000).for_each(|_| refusals.log(&ProverError::Crowded(64)));
            flood();
            assert_eq!(told(), (1, 1), "the first, at once");
            clock.advance(INTERVAL.checked_sub(Duration::from_nanos(1)).unwrap());
            flood();
            assert_eq!(told(), (1, 1));
            clock.advance(Duration::from_nanos(1));
            flood();
            assert_eq!(told(), (2, 2001), "all that came meanwhile, and this one");
        });
    }
}
