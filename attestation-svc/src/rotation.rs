//! How one kind of key is replaced while everything goes on, as a pure state machine: no I/O and no clock of its own
//! (docs/spec/lease.md, "Rotation"). Times are the boot clock's; rounds are the roster's.
//!
//! A key is announced, then in force, then old, then gone. It signs nothing before every service that lives knows
//! it, and is forgotten only when nothing that it signed is of use any more.

use std::time::Duration;

use health_token::MAX_LIFE;

/// After this, whoever has not enrolled anew has no token left, and no lease.
pub(crate) const STRAGGLERS: Duration = Duration::from_secs(MAX_LIFE.unsigned_abs());
/// Old keys that are still listed; one more rotation has to wait.
const MAX_OLD: usize = 16;

/// The generations of one kind of key.
#[derive(Debug)]
pub(crate) struct Rotation<K> {
    in_force: K,
    since: Duration,
    next: Option<Dated<K>>,
    old: Vec<Dated<K>>,
}

#[derive(Debug)]
struct Dated<K> {
    key: K,
    at: Duration,
    /// Whoever enrolled in this round or a later one knows of what happened then.
    round: u64,
}

/// How far a key is, as operators, the audit log and metrics have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Announced,
    InForce,
    Old,
    /// It is listed no more.
    Retired,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::InForce => "in-force",
            Self::Old => "old",
            Self::Retired => "retired",
        }
    }
}

/// When an old key can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// What it signed has ended by itself.
    Ended,
    /// Everybody was given something that its successor signed.
    Replaced,
}

/// The last rotation of this kind is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnderWay;

impl<K: Clone> Rotation<K> {
    /// The first key of a boot.
    pub(crate) fn new(key: K, now: Duration) -> Self {
        Self { in_force: key, since: now, next: None, old: Vec::new() }
    }

    /// The key that signs.
    pub(crate) fn in_force(&self) -> K {
        self.in_force.clone()
    }

    /// Since when it does.
    pub(crate) fn since(&self) -> Duration {
        self.since
    }

    /// Every key that may be met, the one in force first, and how far it is.
    pub(crate) fn phases(&self) -> Vec<(K, Phase)> {
        let next = self.next.iter().map(|next| (next.key.clone(), Phase::Announced));
        let old = self.old.iter().map(|old| (old.key.clone(), Phase::Old));
        [(self.in_force(), Phase::InForce)].into_iter().chain(next).chain(old).collect()
    }

    /// The same without the phases.
    pub(crate) fn listed(&self) -> Vec<K> {
        self.phases().into_iter().map(|(key, _)| key).collect()
    }

    /// Whether another may be announced.
    pub(crate) fn check(&self) -> Result<(), UnderWay> {
        if self.next.is_none() && self.old.len() < MAX_OLD { Ok(()) } else { Err(UnderWay) }
    }

    /// Whoever enrols from `round` on knows `key`.
    pub(crate) fn announce(&mut self, key: K, round: u64, now: Duration) -> Result<(), UnderWay> {
        self.check()?;
        self.next = Some(Dated { key, at: now, round });
        Ok(())
    }

    /// Puts the announced key in force once nobody who lives may not know it: `behind` says whether anybody may
    /// still go by what was before a round. What the new key is for is handed out from `round` on.
    pub(crate) fn switch(
        &mut self,
        round: u64,
        now: Duration,
        behind: impl FnOnce(u64) -> bool,
    ) -> Option<K> {
        let Dated { key, .. } =
            self.next.take_if(|next| !behind(next.round) || now >= next.at.saturating_add(STRAGGLERS))?;
        let before = std::mem::replace(&mut self.in_force, key);
        self.old.push(Dated { key: before, at: now, round });
        self.since = now;
        Some(self.in_force())
    }

    /// Takes out the old keys that nothing needs.
    pub(crate) fn retire(&mut self, until: Until, now: Duration, behind: impl Fn(u64) -> bool) -> Vec<K> {
        let needless = |old: &Dated<K>| {
            let replaced = until == Until::Replaced && !behind(old.round);
            replaced || now >= old.at.saturating_add(STRAGGLERS)
        };
        self.old.extract_if(.., |old| needless(old)).map(|old| old.key).collect()
    }
}

#[cfg(test)]
mod tests;
