//! Chains whose signatures were found good.
//!
//! What bytes say and whether a key signed them never changes, so that the answer may be kept: a report of a known chip
//! then costs one signature instead of four, and its certificates are not read again. Names, dates, revocation and all
//! that the report says are judged anew each time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::chain::{Chain, ChainError};

/// The latest good chains, as many as there is room for.
#[derive(Debug)]
pub(crate) struct ChainMemory {
    room: usize,
    good: Mutex<VecDeque<Arc<Chain>>>,
}

impl ChainMemory {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, good: Mutex::default() }
    }

    /// The chain of these certificates: read, if it is not remembered.
    pub(crate) fn chain(&self, der: [&[u8]; 3]) -> Result<Arc<Chain>, ChainError> {
        self.recall(der).map_or_else(|| Chain::parse(der).map(Arc::new), Ok)
    }

    /// The remembered chain of exactly these certificates.
    fn recall(&self, der: [&[u8]; 3]) -> Option<Arc<Chain>> {
        self.good().iter().find(|good| good.der() == der).cloned()
    }

    /// Ok for the very chain that was recalled; else what `check` says of it, and it is kept if it is good.
    pub(crate) fn vouch<E>(
        &self,
        chain: &Arc<Chain>,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if self.good().iter().any(|good| Arc::ptr_eq(good, chain)) {
            return Ok(());
        }
        check()?;
        if self.room > 0 {
            let mut good = self.good();
            good.push_front(Arc::clone(chain));
            good.truncate(self.room);
        }
        Ok(())
    }

    /// A panic elsewhere cannot have left a chain half remembered.
    fn good(&self) -> MutexGuard<'_, VecDeque<Arc<Chain>>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use sev::certs::snp::builtin::{genoa, milan, turin};
    use x509_parser::pem::Pem;

    use super::*;

    /// Three certificates of the right form; that they are no chain does not matter here.
    fn chain(pem: &[u8]) -> Arc<Chain> {
        let der = Pem::iter_from_buffer(pem).next().unwrap().unwrap().contents;
        Arc::new(Chain::parse([&der; 3]).unwrap())
    }

    fn asked(memory: &ChainMemory, chain: &Arc<Chain>, answer: Result<(), ()>) -> bool {
        let mut asked = false;
        let known = memory.recall(chain.der());
        let told = memory.vouch(known.as_ref().unwrap_or(chain), || {
            asked = true;
            answer
        });
        assert_eq!(told.is_ok(), answer.is_ok() || !asked);
        asked
    }

    #[test]
    fn only_good_chains_are_remembered_and_only_the_latest() {
        let (a, b, c) = (chain(milan::ARK), chain(genoa::ARK), chain(turin::ARK));
        let memory = ChainMemory::new(2);
        assert!(asked(&memory, &a, Err(())), "unknown");
        assert!(asked(&memory, &a, Ok(())), "a bad answer is not kept");
        assert!(!asked(&memory, &chain(milan::ARK), Err(())), "a good answer is, by its bytes");
        assert!(asked(&memory, &b, Ok(())) && asked(&memory, &c, Ok(())));
        assert!(asked(&memory, &a, Ok(())), "no room for the oldest");
        assert!(asked(&ChainMemory::new(0), &a, Ok(())));
    }

    #[test]
    fn a_chain_is_not_vouched_for_by_another() {
        let (a, b) = (chain(milan::ARK), chain(genoa::ARK));
        let memory = ChainMemory::new(2);
        assert!(asked(&memory, &a, Ok(())));
        let mixed = [a.der()[0], a.der()[1], b.der()[2]];
        assert!(memory.recall(mixed).is_none());
        assert_eq!(memory.vouch(&b, || Err(())), Err(()));
    }
}
