//! The newest token that each peer has shown.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// By key of the peer: when its newest token was issued, and that token's end on the boot clock.
///
/// A token's end is counted from the wall clock when it comes. Were it counted anew each time, a
/// wall clock that stands still would let one token live for ever.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    newest: Mutex<BTreeMap<Vec<u8>, (i64, Duration)>>,
}

impl Shown {
    /// The end of a verified token of `key`, issued at `iat`, that would end at `counted` if it came
    /// for the first time: only a newer token moves a peer's end on.
    pub(crate) fn end(&self, key: &[u8], iat: i64, counted: Duration) -> Duration {
        // Each entry is whole, whatever a thread died of.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, end)) = newest.get(key)
            && iat <= *seen
        {
            return counted.min(*end);
        }
        newest.insert(key.to_vec(), (iat, counted));
        counted
    }

    /// For a new trust epoch, in which no earlier token is of use.
    pub(crate) fn clear(&self) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_a_newer_token_of_the_same_key_prolongs() {
        let shown = Shown::default();
        assert_eq!(shown.end(b"a", 100, at(90)), at(90));
        assert_eq!(shown.end(b"a", 100, at(150)), at(90), "the same");
        assert_eq!(shown.end(b"a", 99, at(150)), at(90), "an older one");
        assert_eq!(shown.end(b"a", 99, at(80)), at(80), "never more than its own");
        assert_eq!(shown.end(b"b", 99, at(150)), at(150), "another key");
        assert_eq!(shown.end(b"a", 130, at(120)), at(120));
    }

    #[test]
    fn a_new_trust_epoch_counts_anew() {
        let shown = Shown::default();
        shown.end(b"a", 100, at(90));
        shown.clear();
        assert_eq!(shown.end(b"a", 50, at(150)), at(150));
    }
}
