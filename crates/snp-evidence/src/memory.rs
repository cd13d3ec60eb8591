//! Chains whose signatures were found good.
//!
//! Whether bytes are signed by a key never changes, so that the answer may be kept: a report of a known chip then costs
//! one signature instead of four. Names, dates, revocation and all that the report says are judged anew each time.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The latest good chains, as many as there is room for.
#[derive(Debug)]
pub(crate) struct ChainMemory {
    room: usize,
    good: Mutex<VecDeque<[Vec<u8>; 3]>>,
}

impl ChainMemory {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, good: Mutex::default() }
    }

    /// Ok for a chain, its three certificates whole, that is remembered; else what `check` says, kept if it is good.
    pub(crate) fn recall<E>(
        &self,
        chain: [&[u8]; 3],
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if self.good().iter().any(|good| *good == chain) {
            return Ok(());
        }
        check()?;
        if self.room > 0 {
            let mut good = self.good();
            good.push_front(chain.map(<[u8]>::to_vec));
            good.truncate(self.room);
        }
        Ok(())
    }

    /// A panic elsewhere cannot have left a chain half remembered.
    fn good(&self) -> MutexGuard<'_, VecDeque<[Vec<u8>; 3]>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(memory: &ChainMemory, chain: u8, answer: Result<(), ()>) -> bool {
        let mut asked = false;
        let check = || {
            asked = true;
            answer
        };
        let told = memory.recall([b"ark", b"ask", &[chain]], check);
        assert_eq!(told.is_ok(), answer.is_ok() || !asked);
        asked
    }

    #[test]
    fn only_good_chains_are_remembered_and_only_the_latest() {
        let memory = ChainMemory::new(2);
        assert!(asked(&memory, 1, Err(())), "unknown");
        assert!(asked(&memory, 1, Ok(())), "a bad answer is not kept");
        assert!(!asked(&memory, 1, Err(())), "a good answer is");
        assert!(asked(&memory, 2, Ok(())) && asked(&memory, 3, Ok(())));
        assert!(asked(&memory, 1, Ok(())), "no room for the oldest");
        assert!(asked(&ChainMemory::new(0), 1, Ok(())));
    }
}
