//! Who holds which identity and which tokens are void, as a pure state machine: no I/O and no clock
//! of its own (docs/spec/lease.md, "Revocation").
//!
//! Epochs never go back. A place that was lost is lost: whoever takes it next has another ticket.

use std::collections::BTreeMap;
use std::time::Duration;

use mtls::Role;

/// Holders and epochs of one boot.
#[derive(Debug, Clone)]
pub(crate) struct Roster {
    epoch: u64,
    min_epoch: u64,
    last_ticket: u64,
    /// Counts how often holders were told to enrol anew.
    round: u64,
    identities: BTreeMap<Role, Standing>,
}

/// How one identity stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// Nobody may hold it.
    pub(crate) revoked: bool,
    /// Tokens of this identity of an earlier epoch are void; 0 where it was never revoked.
    pub(crate) min_epoch: u64,
    /// Tokens granted so far.
    pub(crate) tokens: u64,
    /// The earliest round in which a process that lives may have enrolled; `None` before the first.
    oldest: Option<u64>,
    place: Option<Occupied>,
}

#[derive(Debug, Clone, Default)]
struct Occupied {
    ticket: Ticket,
    enrolled: Option<Enrolled>,
    heartbeat: Option<Duration>,
    /// Of what it was told at its enrolment.
    round: u64,
    heartbeats: u64,
}

/// One stay in an identity's place.
pub(crate) type Ticket = u64;

/// The holder as it enrolled. Times are the boot clock's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Enrolled {
    pub(crate) at: Duration,
    pub(crate) pid: Option<i32>,
    pub(crate) svid_serial: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its key, which it keeps for its life.
    pub(crate) spki_sha256: [u8; 32],
}

/// What every holder has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epochs {
    pub(crate) epoch: u64,
    /// Tokens of an earlier epoch are void.
    pub(crate) min_epoch: u64,
    /// The identities that were ever revoked, each with its own least epoch.
    pub(crate) revocations: Vec<(Role, u64)>,
}

/// Why an identity is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is revoked.
    Revoked,
    /// Somebody else holds it.
    InUse,
    /// It was revoked and reinstated since; only a new enrolment helps.
    Lost,
}

impl Roster {
    /// Nobody holds anything; epoch 1.
    pub(crate) fn new(roles: impl IntoIterator<Item = Role>) -> Self {
        let identities = roles.into_iter().map(|role| (role, Standing::default())).collect();
        Self { epoch: 1, min_epoch: 1, last_ticket: 0, round: 0, identities }
    }

    /// The one place of a holder.
    pub(crate) fn take(&mut self, role: Role) -> Result<Ticket, Refused> {
        let standing = self.identities.get_mut(&role).ok_or(Refused::Revoked)?;
        if standing.revoked {
            return Err(Refused::Revoked);
        }
        if standing.place.is_some() {
            return Err(Refused::InUse);
        }
        self.last_ticket += 1;
        standing.place =
            Some(Occupied { ticket: self.last_ticket, round: self.round, ..Occupied::default() });
        Ok(self.last_ticket)
    }

    /// Frees the place, where it is still this stay's.
    pub(crate) fn leave(&mut self, role: Role, ticket: Ticket) {
        if self.check(role, ticket).is_ok()
            && let Some(standing) = self.identities.get_mut(&role)
        {
            standing.place = None;
        }
    }

    /// The holder of the place has its identity.
    pub(crate) fn enrolled(&mut self, role: Role, ticket: Ticket, holder: Enrolled) -> Result<(), Refused> {
        let place = self.place(role, ticket)?;
        place.enrolled = Some(holder);
        let round = place.round;
        if let Some(standing) = self.identities.get_mut(&role) {
            standing.oldest.get_or_insert(round);
        }
        Ok(())
    }

    /// Whether the place is still this stay's.
    pub(crate) fn check(&self, role: Role, ticket: Ticket) -> Result<(), Refused> {
        let standing = self.identities.get(&role).ok_or(Refused::Revoked)?;
        match &standing.place {
            Some(place) if place.ticket == ticket => Ok(()),
            _ if standing.revoked => Err(Refused::Revoked),
            _ => Err(Refused::Lost),
        }
    }

    /// Whether holders were told to enrol anew since this stay began.
    pub(crate) fn told_to_renew(&self, role: Role, ticket: Ticket) -> bool {
        let place = self.identities.get(&role).and_then(|standing| standing.place.as_ref());
        place.is_some_and(|place| place.ticket == ticket && place.round < self.round)
    }

    /// A heartbeat of the holder. A token that answers it is of the returned epoch: were it of a later
    /// one, it would outlive a revocation that comes meanwhile.
    pub(crate) fn heartbeat(&mut self, role: Role, ticket: Ticket, now: Duration) -> Result<Epochs, Refused> {
        let place = self.place(role, ticket)?;
        place.heartbeat = Some(now);
        place.heartbeats += 1;
        // The second comes from a holder that has put its enrolment in force.
        if let (2, round) = (place.heartbeats, place.round)
            && let Some(standing) = self.identities.get_mut(&role)
        {
            standing.oldest = Some(round);
        }
        Ok(self.epochs())
    }

    /// Who has this key and gave a sign of life since `since`.
    pub(crate) fn alive(&self, spki_sha256: &[u8; 32], since: Duration) -> Option<Role> {
        let lives = |standing: &Standing| {
            standing.holder().is_some_and(|(holder, heartbeat)| {
                holder.spki_sha256 == *spki_sha256 && heartbeat.is_some_and(|heartbeat| heartbeat >= since)
            })
        };
        self.identities.iter().find(|(_, standing)| lives(standing)).map(|(role, _)| *role)
    }

    /// A token was granted.
    pub(crate) fn granted(&mut self, role: Role) {
        if let Some(standing) = self.identities.get_mut(&role) {
            standing.tokens += 1;
        }
    }

    /// Voids every token granted so far.
    pub(crate) fn revoke_all(&mut self) {
        self.epoch += 1;
        self.min_epoch = self.epoch;
    }

    /// Voids the tokens of `role`, whose holder loses it, and refuses it from now on.
    pub(crate) fn revoke(&mut self, role: Role) {
        let Some(standing) = self.identities.get_mut(&role).filter(|standing| !standing.revoked) else {
            return;
        };
        self.epoch += 1;
        *standing =
            Standing { revoked: true, min_epoch: self.epoch, place: None, ..std::mem::take(standing) };
    }

    /// Lets `role` be held again. Tokens from before the revocation stay void.
    pub(crate) fn reinstate(&mut self, role: Role) {
        if let Some(standing) = self.identities.get_mut(&role) {
            standing.revoked = false;
        }
    }

    /// Tells every holder to enrol anew, enrolments under way included; the round that begins, and which holders there are.
    pub(crate) fn renew_all(&mut self) -> (u64, Vec<Role>) {
        self.round = self.next_round();
        let held = self.identities.iter().filter(|(_, standing)| standing.holder().is_some());
        (self.round, held.map(|(role, _)| *role).collect())
    }

    /// The round that would begin next.
    pub(crate) fn next_round(&self) -> u64 {
        self.round + 1
    }

    /// Whether a process that lives may go by what it was told before `round`.
    pub(crate) fn behind(&self, round: u64) -> bool {
        self.identities.values().any(|standing| standing.oldest.is_some_and(|oldest| oldest < round))
    }

    /// How many rounds the holders' processes have put in force, to notice when that changes.
    pub(crate) fn in_force(&self, role: Role) -> Option<u64> {
        self.identities.get(&role)?.oldest
    }

    /// What holders have to know.
    pub(crate) fn epochs(&self) -> Epochs {
        let own = self.identities.iter().map(|(role, standing)| (*role, standing.min_epoch));
        let revocations = own.filter(|(_, min_epoch)| *min_epoch > 0).collect();
        Epochs { epoch: self.epoch, min_epoch: self.min_epoch, revocations }
    }

    /// How `role` stands; `None` where it is no identity of this deployment.
    pub(crate) fn standing(&self, role: Role) -> Option<&Standing> {
        self.identities.get(&role)
    }

    fn place(&mut self, role: Role, ticket: Ticket) -> Result<&mut Occupied, Refused> {
        self.check(role, ticket)?;
        self.identities.get_mut(&role).and_then(|standing| standing.place.as_mut()).ok_or(Refused::Lost)
    }
}

impl Standing {
    /// The holder and when its last heartbeat came, once it has enrolled.
    pub(crate) fn holder(&self) -> Option<(&Enrolled, Option<Duration>)> {
        let place = self.place.as_ref()?;
        Some((place.enrolled.as_ref()?, place.heartbeat))
    }
}

#[cfg(test)]
mod tests;
