//! The lease as a pure state machine: no I/O and no clock of its own (docs/spec/lease.md).
//!
//! Every deadline counts from when the request was *sent* whose answer granted it. When an answer
//! was made or how long it travelled is not known; that it cannot precede its request is.

use std::{collections::VecDeque, time::Duration};

/// Between two heartbeats.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// From sending the last heartbeat that was answered to the lapse.
pub(crate) const LAPSE: Duration = Duration::from_secs(15);
/// From requesting a token to requesting the next.
pub(crate) const TOKEN_EVERY: Duration = Duration::from_secs(30);

/// The lease of one `Lease` stream. Times are the boot clock's.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    last_sequence: u64,
    first_sent: Option<Duration>,
    last_sent: Option<Duration>,
    unanswered: VecDeque<Sent>,
    alive_since: Option<Duration>,
    token: Option<Token>,
    epoch: u64,
    min_epoch: u64,
}

#[derive(Debug)]
struct Sent {
    sequence: u64,
    at: Duration,
    nonce: Option<[u8; 32]>,
}

#[derive(Debug)]
struct Token {
    requested_at: Duration,
    ends: Duration,
    epoch: u64,
}

/// A heartbeat to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// Counts from 1.
    pub(crate) sequence: u64,
    /// Asks for a token, where present.
    pub(crate) token_nonce: Option<[u8; 32]>,
}

/// An answer as received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// The heartbeat that it answers.
    pub(crate) sequence: u64,
    /// The health epoch now.
    pub(crate) epoch: u64,
    /// The holder's tokens of earlier epochs are void.
    pub(crate) min_epoch: u64,
    /// Whether a token came with it.
    pub(crate) has_token: bool,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The heartbeat was answered before, or given up; nothing changes.
    Late,
    /// The lease counts from this heartbeat.
    Alive,
    /// The same, and a token came: verify it for this grant, then tell [`Lease::granted`].
    Token(Grant),
}

/// The request that a token answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Nonce of the request.
    pub(crate) nonce: [u8; 32],
    /// When it was sent.
    pub(crate) requested_at: Duration,
}

/// An answer that no honest attestation-svc gives. The stream is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// It answers a heartbeat that was not sent.
    #[error("answer to heartbeat {sequence}, but only {sent} were sent")]
    NeverSent {
        /// The sequence in the answer.
        sequence: u64,
        /// Heartbeats sent so far.
        sent: u64,
    },
    /// It brings a token that was not asked for.
    #[error("answer to heartbeat {0} brings a token that was not asked for")]
    UnaskedToken(u64),
    /// An epoch went back, or the least epoch exceeds the present one.
    #[error("health epoch {epoch} with least epoch {min_epoch} does not follow what was told before")]
    Epoch {
        /// The epoch in the answer.
        epoch: u64,
        /// The least epoch in the answer.
        min_epoch: u64,
    },
}

impl Lease {
    /// A lease of another stream of the same attestation-svc, which has already told `min_epoch`.
    pub(crate) fn following(min_epoch: u64) -> Self {
        Self { epoch: min_epoch, min_epoch, ..Self::default() }
    }

    /// When the next heartbeat is due.
    pub(crate) fn next_due(&self) -> Duration {
        match self.last_sent {
            None => Duration::ZERO,
            // The second follows at once: it says that the enrolment is in force here.
            Some(at) if self.last_sequence == 1 && self.alive_since.is_some() => at,
            // A void token is replaced without waiting for the beat, at most once per second.
            Some(at) if self.token.is_some() && self.token_is_void() => at + Duration::from_secs(1),
            Some(at) => at + HEARTBEAT,
        }
    }

    /// When nobody has answered for so long that the stream is of no use.
    pub(crate) fn silent_at(&self) -> Duration {
        self.alive_since.or(self.first_sent).map_or(Duration::MAX, |at| at + LAPSE)
    }

    /// The heartbeat to send at `now`; `nonce` is used where a token is wanted.
    pub(crate) fn heartbeat(&mut self, now: Duration, nonce: [u8; 32]) -> Heartbeat {
        self.last_sequence += 1;
        self.first_sent.get_or_insert(now);
        self.last_sent = Some(now);
        self.unanswered.retain(|sent| now < sent.at + LAPSE);
        let token_nonce = self.wants_token(now).then_some(nonce);
        self.unanswered.push_back(Sent { sequence: self.last_sequence, at: now, nonce: token_nonce });
        Heartbeat { sequence: self.last_sequence, token_nonce }
    }

    /// Takes an answer in. Late, lost, repeated and reordered answers prolong nothing.
    pub(crate) fn answered(&mut self, answer: Answer) -> Result<Answered, LeaseError> {
        let Answer { sequence, epoch, min_epoch, has_token } = answer;
        if sequence == 0 || sequence > self.last_sequence {
            return Err(LeaseError::NeverSent { sequence, sent: self.last_sequence });
        }
        let Some(place) = self.unanswered.iter().position(|sent| sent.sequence == sequence) else {
            return Ok(Answered::Late);
        };
        let Some(sent) = self.unanswered.remove(place) else {
            return Ok(Answered::Late);
        };
        // An answer that was overtaken may tell of the past; it must not take anything back.
        let overtaken = self.alive_since.is_some_and(|alive| sent.at < alive);
        self.take_epochs(epoch, min_epoch, overtaken)?;
        self.alive_since = self.alive_since.max(Some(sent.at));
        match (has_token, sent.nonce) {
            (false, _) => Ok(Answered::Alive),
            (true, Some(nonce)) => Ok(Answered::Token(Grant { nonce, requested_at: sent.at })),
            (true, None) => Err(LeaseError::UnaskedToken(sequence)),
        }
    }

    /// Takes in a notice, which answers no heartbeat: it can void the token, and prolongs nothing.
    pub(crate) fn noticed(&mut self, epoch: u64, min_epoch: u64) -> Result<(), LeaseError> {
        self.take_epochs(epoch, min_epoch, false)
    }

    /// The token for `grant` was verified: it belongs to `epoch` and lives for `life` from its making.
    pub(crate) fn granted(&mut self, grant: &Grant, epoch: u64, life: Duration) {
        let token = Token { requested_at: grant.requested_at, ends: grant.requested_at + life, epoch };
        if self.token.as_ref().is_none_or(|held| held.requested_at < token.requested_at) {
            self.token = Some(token);
        }
    }

    /// When the lease lapses: 15 s after the last answered heartbeat was sent, or when the token
    /// ends, whichever is first. `None` before the first token and while the token is void.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let token = self.token.as_ref().filter(|_| !self.token_is_void())?;
        Some((self.alive_since? + LAPSE).min(token.ends))
    }

    fn take_epochs(&mut self, epoch: u64, min_epoch: u64, overtaken: bool) -> Result<(), LeaseError> {
        let back = !overtaken && (epoch < self.epoch || min_epoch < self.min_epoch);
        if back || min_epoch > epoch {
            return Err(LeaseError::Epoch { epoch, min_epoch });
        }
        self.epoch = self.epoch.max(epoch);
        self.min_epoch = self.min_epoch.max(min_epoch);
        Ok(())
    }

    fn wants_token(&self, now: Duration) -> bool {
        self.token
            .as_ref()
            .is_none_or(|held| held.epoch < self.epoch || now >= held.requested_at + TOKEN_EVERY)
    }

    fn token_is_void(&self) -> bool {
        self.token.as_ref().is_none_or(|held| held.epoch < self.min_epoch)
    }
}

// The path is for `fuzz/`, which takes this file alone.
#[cfg(test)]
#[path = "lease/tests.rs"]
mod tests;
