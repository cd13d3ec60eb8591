//! Nonces, and waits that do not fall into step.

use std::time::Duration;

use mtls::KeyError;

/// 32 random bytes.
pub(crate) fn bytes() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Generate)?;
    Ok(bytes)
}

/// Waits between attempts: 50 ms, doubling to 1 s, each shortened by up to half at random.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Starts anew where what came of the last attempt has `lasted`: one that ends as soon as it
    /// begins must not be tried in a circle.
    pub(crate) fn reset_after(&mut self, lasted: Duration) {
        if lasted >= SETTLED {
            self.attempts = 0;
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(5)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let mut byte = [0];
        // Without randomness the wait is whole, which is as safe.
        let share = aws_lc_rs::rand::fill(&mut byte).map_or(0, |()| u32::from(byte[0]));
        full.saturating_sub(full / 2 * share / 255)
    }
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);
/// What has lasted for so long counts as a success.
const SETTLED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_one_second_and_start_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[19] >= LONGEST / 2 && waits.iter().all(|wait| *wait <= LONGEST));
        backoff.reset_after(Duration::from_nanos(4_999_999_999));
        assert!(backoff.next() >= LONGEST / 2, "what did not last is no success");
        backoff.reset_after(SETTLED);
        assert!(backoff.next() <= FIRST);
    }
}
