//! How long a server that failed is left alone.

use std::time::Duration;

/// A server's own wish is met up to here: one that lies cannot silence us for good.
const MOST_ASKED: Duration = Duration::from_hours(1);

/// Twice as long after each failure, from `first` to `most`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_mins(5) }
    }
}

impl Backoff {
    /// After this many failures in a row, where the server asked for `asked` (`Retry-After`, RFC 9110, 10.2.3). `roll`
    /// is random, of 0 to 1, so that a fleet that failed together does not come back together.
    pub(crate) fn pause(self, failures: u32, asked: Option<Duration>, roll: f64) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let own = self.first.saturating_mul(doubled).min(self.most);
        let asked = asked.unwrap_or_default().min(MOST_ASKED);
        own.mul_f64(f64::midpoint(1.0, roll)).max(asked.mul_f64(1.0 + roll / 10.0))
    }
}

/// A random number of 0 to 1; 1 where there is none to be had.
pub(crate) fn roll() -> f64 {
    let mut bytes = [0; 2];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_most_and_are_spread() {
        let backoff = Backoff { first: SECOND, most: 60 * SECOND };
        for (failures, most) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
            assert_eq!(backoff.pause(failures, None, 1.0), most * SECOND, "{failures}");
            assert_eq!(backoff.pause(failures, None, 0.0), most * SECOND / 2, "{failures}");
        }
    }

    #[test]
    fn a_wish_is_met_within_its_bound() {
        let backoff = Backoff::default();
        let asked = |seconds: u64, roll| backoff.pause(1, Some(Duration::from_secs(seconds)), roll);
        assert_eq!(asked(10, 0.0), 10 * SECOND);
        assert_eq!(asked(10, 1.0), 11 * SECOND);
        assert_eq!(asked(0, 1.0), SECOND, "its own pause is the least");
        assert_eq!(asked(u64::MAX, 0.0), MOST_ASKED);
    }

    #[test]
    fn rolls_differ_and_stay_within_bounds() {
        let rolls: Vec<_> = (0..64).map(|_| roll()).collect();
        assert!(rolls.iter().all(|roll| (0.0..=1.0).contains(roll)));
        assert!(rolls.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 0.01));
    }
}
