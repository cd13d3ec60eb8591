//! A stretch of time that can be prolonged while it lasts and never revived once it is over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use service_runtime::{CancellationToken, Clock};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// How often something that waits for a term's end reads the clock anew. The timers of the runtime
/// stand still while the machine is suspended or the process stopped; the clock does not.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// One uninterrupted lease, or one peer's attachment.
#[derive(Debug)]
pub(crate) struct Term {
    /// CLOCK_BOOTTIME in nanoseconds; 0 = over for ever.
    deadline: AtomicU64,
    over: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl Term {
    pub(crate) fn until(deadline: Duration, clock: Arc<dyn Clock>) -> Arc<Self> {
        let term = Self { deadline: AtomicU64::new(nanos(deadline)), over: CancellationToken::new(), clock };
        Arc::new(term)
    }

    /// A term that never was.
    pub(crate) fn none(clock: Arc<dyn Clock>) -> Arc<Self> {
        let term = Self::until(Duration::ZERO, clock);
        term.over.cancel();
        term
    }

    /// One atomic load and one reading of the clock; whoever first sees the end makes it final.
    pub(crate) fn is_live(&self) -> bool {
        self.move_deadline(|deadline| deadline)
    }

    /// Sets another deadline; false where the term is over, and then it stays over.
    pub(crate) fn set_deadline(&self, deadline: Duration) -> bool {
        self.move_deadline(|_| nanos(deadline))
    }

    fn move_deadline(&self, next: impl Fn(u64) -> u64) -> bool {
        let mut seen = self.deadline.load(Ordering::Acquire);
        loop {
            if seen == 0 {
                return false;
            }
            let live = seen > nanos(self.clock.boot());
            let target = if live { next(seen) } else { 0 };
            if target != seen {
                let exchanged =
                    self.deadline.compare_exchange(seen, target, Ordering::AcqRel, Ordering::Acquire);
                if let Err(actual) = exchanged {
                    seen = actual;
                    continue;
                }
            }
            if target == 0 {
                self.over.cancel();
            }
            return target != 0;
        }
    }

    pub(crate) fn end(&self) {
        self.deadline.store(0, Ordering::Release);
        self.over.cancel();
    }

    /// Resolves once the end was seen. Somebody has to look: see [`Self::watch`].
    pub(crate) fn over(&self) -> WaitForCancellationFutureOwned {
        self.over.clone().cancelled_owned()
    }

    /// Looks at the clock until the term is over; one watcher wakes everyone in [`Self::over`].
    pub(crate) async fn watch(&self) {
        while self.is_live() {
            tokio::select! {
                () = tokio::time::sleep(self.left().min(TICK)) => {}
                () = self.over.cancelled() => {}
            }
        }
    }

    fn left(&self) -> Duration {
        let deadline = Duration::from_nanos(self.deadline.load(Ordering::Acquire));
        deadline.saturating_sub(self.clock.boot())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Resolves when `clock` shows `due` or later, at most a [`TICK`] after it does.
pub(crate) async fn reached(clock: &dyn Clock, due: Duration) {
    loop {
        let left = due.saturating_sub(clock.boot());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(TICK)).await;
    }
}

#[cfg(test)]
mod tests {
    use service_runtime::ManualClock;

    use super::*;

    fn ten_seconds() -> (Arc<ManualClock>, Arc<Term>) {
        let clock = Arc::new(ManualClock::new(0));
        let term = Term::until(clock.boot() + Duration::from_secs(10), clock.clone());
        (clock, term)
    }

    #[test]
    fn a_term_is_prolonged_while_it_lasts() {
        let (clock, term) = ten_seconds();
        clock.advance(Duration::from_secs(9));
        assert!(term.set_deadline(clock.boot() + Duration::from_secs(10)));
        clock.advance(Duration::from_secs(9));
        assert!(term.is_live());
    }

    #[test]
    fn a_term_that_is_over_is_never_revived() {
        let (clock, term) = ten_seconds();
        clock.advance(Duration::from_secs(10));
        assert!(!term.set_deadline(clock.boot() + Duration::from_secs(10)));
        assert!(!term.is_live());
    }

    #[test]
    fn a_time_beyond_the_count_of_nanoseconds_has_come() {
        // An unreadable clock shows Duration::MAX.
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        let (clock, term) = ten_seconds();
        clock.advance(Duration::from_secs(1 << 33));
        assert!(!term.is_live());
    }

    #[tokio::test]
    async fn the_first_to_see_the_end_wakes_the_others() {
        let (clock, term) = ten_seconds();
        let over = term.over();
        clock.advance(Duration::from_secs(11));
        assert!(!term.is_live());
        over.await;
    }
}
