//! What of one identity gets a line of its own, and what is counted; as a pure state machine.

use std::time::Duration;

use audit_log::Event;
use mtls::Role;

/// How long a record on disk allows tokens, and after how long lines are free again.
const MINUTE: Duration = Duration::from_mins(1);
/// Enrolments that get a line of their own in a minute. A service that works needs two an hour.
const ENROLMENTS: u32 = 8;
/// Refusals that do.
const REFUSALS: u32 = 4;

/// One identity.
#[derive(Debug, Default)]
pub(super) struct Minute {
    tokens_until: Option<Duration>,
    enrolments: Lines,
    refusals: Lines,
    counts: Counts,
}

/// Not on disk yet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    tokens: u64,
    enrolled: u64,
    refused: u64,
}

impl Counts {
    pub(super) fn record(&self, role: Role) -> Event {
        let Self { tokens, enrolled, refused } = *self;
        Event::Grants { identity: role.to_string(), tokens, enrolled, refused }
    }
}

impl Minute {
    /// Counts a token; or, where no minute is open, gives what has to be on disk before.
    pub(super) fn token(&mut self, now: Duration) -> Option<Counts> {
        if self.tokens_until.is_none_or(|until| now >= until) {
            return Some(self.counts.clone());
        }
        self.counts.tokens += 1;
        None
    }

    /// `written` is on disk, and opens a minute from `now`, with one token.
    pub(super) fn opened(&mut self, now: Duration, written: &Counts) {
        self.tokens_until = Some(now.saturating_add(MINUTE));
        let Counts { tokens, enrolled, refused } = &mut self.counts;
        *tokens = tokens.saturating_sub(written.tokens) + 1;
        *enrolled = enrolled.saturating_sub(written.enrolled);
        *refused = refused.saturating_sub(written.refused);
    }

    /// Whether an enrolment gets a line; else it is counted.
    pub(super) fn enrolled(&mut self, now: Duration) -> bool {
        let line = self.enrolments.take(now, ENROLMENTS);
        self.counts.enrolled += u64::from(!line);
        line
    }

    /// Whether a refusal gets a line; else it is counted.
    pub(super) fn refused(&mut self, now: Duration) -> bool {
        let line = self.refusals.take(now, REFUSALS);
        self.counts.refused += u64::from(!line);
        line
    }

    /// What is not on disk, where there is anything.
    pub(super) fn left(&self) -> Option<&Counts> {
        Some(&self.counts).filter(|counts| **counts != Counts::default())
    }
}

/// Lines of one kind.
#[derive(Debug, Default)]
struct Lines {
    until: Duration,
    taken: u32,
}

impl Lines {
    fn take(&mut self, now: Duration, most: u32) -> bool {
        if now >= self.until {
            *self = Self { until: now.saturating_add(MINUTE), taken: 0 };
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn counts(tokens: u64, enrolled: u64, refused: u64) -> Counts {
        Counts { tokens, enrolled, refused }
    }

    #[test]
    fn the_first_token_of_a_minute_waits_for_a_record_and_the_others_are_counted() {
        let mut minute = Minute::default();
        for _ in 0..2 {
            assert_eq!(minute.token(NOW), Some(counts(0, 0, 0)), "as long as nothing is written");
        }
        minute.opened(NOW, &counts(0, 0, 0));
        let last = NOW + Duration::from_millis(59_999);
        assert_eq!(minute.token(last), None);
        assert_eq!(minute.left(), Some(&counts(2, 0, 0)));
        let written = minute.token(NOW + MINUTE).unwrap();
        assert_eq!(written, counts(2, 0, 0));
        assert!(!(0..=REFUSALS).all(|_| minute.refused(NOW)));
        minute.opened(NOW + MINUTE, &written);
        assert_eq!(minute.left(), Some(&counts(1, 0, 1)), "what came while it was written stays");
    }

    #[test]
    fn a_flood_gets_a_bounded_number_of_lines_a_minute_and_is_counted() {
        let mut minute = Minute::default();
        for start in [NOW, NOW + MINUTE] {
            let lines = |ask: &mut dyn FnMut() -> bool| (0..1000).filter(|_| ask()).count();
            assert_eq!(lines(&mut || minute.enrolled(start)), ENROLMENTS as usize);
            assert_eq!(lines(&mut || minute.refused(start)), REFUSALS as usize);
        }
        assert_eq!(minute.left(), Some(&counts(0, 2 * 992, 2 * 996)));
    }
}
