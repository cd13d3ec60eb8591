//! Whether attestation-svc may vouch for this machine, as a pure state machine: no I/O and no clock of its own
//! (docs/spec/lease.md, "Re-attestation"). Times are the boot clock's.
//!
//! An acceptance counts from when its report was asked for: when the report was made is not known; that it
//! cannot precede the request is. What is closed opens again only by a later acceptance.

use std::time::Duration;

/// Between two reports of attestation-svc's own that were accepted.
pub(crate) const EVERY: Duration = Duration::from_mins(5);
/// From asking for the newest report that was accepted to the end of what rests on it.
pub(crate) const MAX_AGE: Duration = Duration::from_mins(15);
/// After the first attempt that brought no verdict; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What the newest verdicts on this machine come to.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// When the newest report that was accepted was asked for.
    accepted: Duration,
    /// When the newest report that was refused was asked for.
    refused: Option<Duration>,
    /// A verdict on a report that was asked for earlier is not enough.
    demanded: Duration,
    /// Attempts without verdict since the last verdict.
    fruitless: u32,
    due: Duration,
    /// As it was at the last turn.
    open: bool,
}

/// Why nothing is vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The machine was judged, and refused.
    Refused,
    /// There has been no verdict for [`MAX_AGE`].
    Stale,
}

impl Standing {
    /// Accepted at boot, by a report that was asked for at `asked`.
    pub(crate) fn new(asked: Duration) -> Self {
        Self { accepted: asked, refused: None, demanded: asked, fruitless: 0, due: asked + EVERY, open: true }
    }

    /// Whether anything may be vouched for at `now`.
    pub(crate) fn check(&self, now: Duration) -> Result<(), Closed> {
        match self.refused {
            Some(refused) if refused >= self.accepted => Err(Closed::Refused),
            _ if now < self.expires() => Ok(()),
            _ => Err(Closed::Stale),
        }
    }

    /// What has changed since the last turn. To be asked before and after each verdict too, so that no closing goes unnoticed:
    /// each has to void what was granted before it.
    pub(crate) fn turn(&mut self, now: Duration) -> Option<Result<(), Closed>> {
        let standing = self.check(now);
        let before = std::mem::replace(&mut self.open, standing.is_ok());
        (before != self.open).then_some(standing)
    }

    /// When what rests on the newest acceptance ends, unless another comes.
    pub(crate) fn expires(&self) -> Duration {
        self.accepted.saturating_add(MAX_AGE)
    }

    /// How old the newest acceptance is.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.accepted)
    }

    /// When the next report should be asked for.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// The report that was asked for at `asked` was accepted; the next is due `every` later.
    pub(crate) fn accept(&mut self, asked: Duration, every: Duration) {
        self.accepted = self.accepted.max(asked);
        self.judged(asked, every);
    }

    /// The report that was asked for at `asked` was refused.
    pub(crate) fn refuse(&mut self, asked: Duration) {
        self.refused = self.refused.max(Some(asked));
        self.judged(asked, LONGEST_PAUSE);
    }

    /// An attempt ended at `now` without verdict: the processor is busy, a certificate cannot be had.
    pub(crate) fn fail(&mut self, now: Duration) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.fruitless.min(10)).min(LONGEST_PAUSE);
        self.fruitless = self.fruitless.saturating_add(1);
        self.due = now.saturating_add(pause);
    }

    /// Something happened after which the machine may be another: judge it at once.
    pub(crate) fn demand(&mut self, now: Duration) {
        self.demanded = self.demanded.max(now);
        self.due = self.due.min(now);
    }

    fn judged(&mut self, asked: Duration, pause: Duration) {
        self.fruitless = 0;
        self.due = if asked < self.demanded { self.demanded } else { asked.saturating_add(pause) };
    }
}

#[cfg(test)]
mod tests;
