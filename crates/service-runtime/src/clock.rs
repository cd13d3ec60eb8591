//! Time as an argument.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

/// Where a service reads the time. Leases count on [`Clock::boot`], which an
/// operator or host cannot set back and which goes on while the machine is
/// suspended; certificates and token claims are judged at [`Clock::unix`].
pub trait Clock: Debug + Send + Sync + 'static {
    /// Time since boot, suspend included (`CLOCK_BOOTTIME`).
    fn boot(&self) -> Duration;
    /// Seconds since 1970-01-01T00:00:00Z.
    fn unix(&self) -> i64;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> Duration {
        // A clock that cannot be read is the end of time: every lease has lapsed.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
    }

    fn unix(&self) -> i64 {
        clock_gettime(ClockId::CLOCK_REALTIME).map_or(i64::MAX, |now| now.tv_sec())
    }
}

/// A clock that moves when told to, for tests of everything that expires.
#[derive(Debug)]
pub struct ManualClock {
    boot_nanos: AtomicU64,
    unix_seconds: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `unix` and an uptime of 1,000 s.
    pub fn new(unix: i64) -> Self {
        Self { boot_nanos: AtomicU64::new(1_000_000_000_000), unix_seconds: AtomicI64::new(unix) }
    }

    /// Lets both clocks go on by `step`.
    pub fn advance(&self, step: Duration) {
        let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
        self.boot_nanos.fetch_add(nanos, Ordering::SeqCst);
        self.unix_seconds.fetch_add(i64::try_from(step.as_secs()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or a hostile host would.
    pub fn set_unix(&self, unix: i64) {
        self.unix_seconds.store(unix, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boot(&self) -> Duration {
        Duration::from_nanos(self.boot_nanos.load(Ordering::SeqCst))
    }

    fn unix(&self) -> i64 {
        self.unix_seconds.load(Ordering::SeqCst)
    }
}
