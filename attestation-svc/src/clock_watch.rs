//! Notices that time did not pass evenly: a clock that was set, a machine that was suspended or moved.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use service_runtime::Clock;
use tokio::time::Instant;

/// Clocks may differ by this much between two looks.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Of the records on jumps, at most one in this time.
const RECORD_EVERY: Duration = Duration::from_mins(1);

/// Looks at the clocks now and then.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    clock: Arc<dyn Clock>,
    started: Instant,
    seen: Look,
    recorded: Option<Duration>,
}

impl ClockWatch {
    /// Begins with a first look.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let started = Instant::now();
        let seen = Look::at(&*clock, started);
        Self { clock, started, seen, recorded: None }
    }

    /// What has happened since the last look.
    pub(crate) fn jump(&mut self) -> Option<Jump> {
        let look = Look::at(&*self.clock, self.started);
        std::mem::replace(&mut self.seen, look).jump(&look)
    }

    /// Whether a jump that was seen at `now` gets a record.
    pub(crate) fn may_record(&mut self, now: Duration) -> bool {
        let may = self.recorded.is_none_or(|last| now >= last + RECORD_EVERY);
        if may {
            self.recorded = Some(now);
        }
        may
    }
}

/// What the clocks showed at one look.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// `CLOCK_BOOTTIME`.
    boot: Duration,
    /// `CLOCK_REALTIME`, in seconds since 1970.
    unix: i64,
    /// A clock that stands still while the machine is suspended.
    awake: Duration,
}

/// A difference that no even passing of time explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jump {
    /// The wall clock went this many seconds further than the boot clock.
    WallClock(i64),
    /// The machine was suspended for about this long.
    Suspended(Duration),
}

impl Look {
    fn at(clock: &dyn Clock, started: Instant) -> Self {
        Self { boot: clock.boot(), unix: clock.unix(), awake: started.elapsed() }
    }

    /// How unevenly time passed from `self` to `later`, if it did.
    fn jump(&self, later: &Self) -> Option<Jump> {
        let passed = later.boot.saturating_sub(self.boot);
        let suspended = passed.saturating_sub(later.awake.saturating_sub(self.awake));
        if suspended > TOLERANCE {
            return Some(Jump::Suspended(suspended));
        }
        let wall = later.unix.saturating_sub(self.unix);
        let ahead = wall.saturating_sub(i64::try_from(passed.as_secs()).unwrap_or(i64::MAX));
        // The difference of whole seconds is up to one off: whatever exceeds the tolerance is seen, and nothing below a second.
        (ahead.unsigned_abs() >= TOLERANCE.as_secs()).then_some(Jump::WallClock(ahead))
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WallClock(ahead) => write!(f, "the wall clock was set by {ahead:+} s"),
            Self::Suspended(time) => write!(f, "the machine was suspended for {} s", time.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(boot: u64, unix: i64, awake: u64) -> Look {
        Look { boot: Duration::from_secs(boot), unix, awake: Duration::from_secs(awake) }
    }

    #[test]
    fn time_that_passes_evenly_is_no_jump() {
        let start = look(1000, 5000, 700);
        for (boot, unix, awake) in
            [(1001, 5001, 701), (1600, 5600, 1300), (1001, 5002, 701), (1002, 5001, 701)]
        {
            assert_eq!(start.jump(&look(boot, unix, awake)), None, "{boot} {unix} {awake}");
        }
    }

    #[test]
    fn a_wall_clock_that_was_set_is_a_jump_either_way() {
        let start = look(1000, 5000, 700);
        assert_eq!(start.jump(&look(1001, 5001 + 3600, 701)), Some(Jump::WallClock(3600)));
        assert_eq!(start.jump(&look(1001, 5001 - 3600, 701)), Some(Jump::WallClock(-3600)));
        assert_eq!(start.jump(&look(1001, 5005, 701)), Some(Jump::WallClock(4)));
    }

    #[test]
    fn of_many_jumps_one_a_minute_is_recorded() {
        let mut watch = ClockWatch::new(Arc::new(service_runtime::ManualClock::new(0)));
        let recorded = (0..180).filter(|second| watch.may_record(Duration::from_secs(*second)));
        assert_eq!(recorded.collect::<Vec<_>>(), [0, 60, 120]);
    }

    #[test]
    fn a_suspended_machine_is_a_jump_although_its_clocks_agree() {
        let start = look(1000, 5000, 700);
        assert_eq!(start.jump(&look(1121, 5121, 701)), Some(Jump::Suspended(Duration::from_mins(2))));
    }
}
