//! What a verified enrolment makes this process believe.

use std::{collections::BTreeMap, fmt};

use health_token::{Expected, HealthToken, TokenError, TokenKey};
use mtls::{IdentityError, Role, SpiffeId};
use proto::attestation::v1::Revocation;

/// Believed for one enrolment, on the strength of a verified report and its manifest.
#[derive(Clone)]
pub(crate) struct Trust {
    /// Who this process is.
    pub(crate) identity: SpiffeId,
    /// DER of the key that this process shows and that its own tokens are bound to.
    pub(crate) spki: Vec<u8>,
    /// Tells one start of attestation-svc from another.
    pub(crate) boot_seed: [u8; 32],
    pub(crate) token_keys: Vec<TokenKey>,
    pub(crate) least: LeastEpochs,
}

impl Trust {
    /// Judges the token that answers `nonce`.
    pub(crate) fn own_token(
        &self,
        token: &str,
        nonce: &[u8; 32],
        now: i64,
    ) -> Result<HealthToken, TokenError> {
        let names = self.names(&self.identity);
        health_token::verify_own(token, &self.expected(&names, &self.identity, &self.spki, now), nonce)
    }

    /// Judges the token of the service at the other end of a connection.
    pub(crate) fn peer_token(&self, token: &str, peer: &Peer, now: i64) -> Result<HealthToken, TokenError> {
        let names = self.names(&peer.identity);
        health_token::verify(token, &self.expected(&names, &peer.identity, &peer.spki, now))
    }

    /// Issuer and subject of a token of `holder`.
    fn names(&self, holder: &SpiffeId) -> (String, String) {
        (self.identity.sibling(Role::Attestation).to_string(), holder.to_string())
    }

    fn expected<'a>(
        &'a self,
        (issuer, subject): &'a (String, String),
        holder: &SpiffeId,
        spki: &'a [u8],
        now: i64,
    ) -> Expected<'a> {
        Expected {
            keys: &self.token_keys,
            boot_seed: &self.boot_seed,
            min_epoch: self.least.of(holder),
            issuer,
            subject,
            peer_spki: spki,
            now,
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The service at the other end of a mutual TLS connection, as its certificate says.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) identity: SpiffeId,
    pub(crate) spki: Vec<u8>,
}

/// Tokens of earlier epochs are void. What attestation-svc has told is never taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeastEpochs {
    all: u64,
    /// Of the identities that were revoked.
    one: BTreeMap<SpiffeId, u64>,
}

impl LeastEpochs {
    /// As a message tells them.
    pub(crate) fn told(all: u64, revocations: Vec<Revocation>) -> Result<Self, IdentityError> {
        let one = revocations.into_iter().map(|told| Ok((told.identity.parse()?, told.min_epoch)));
        Ok(Self { all, one: one.collect::<Result<_, _>>()? })
    }

    /// For the tokens of `identity`.
    pub(crate) fn of(&self, identity: &SpiffeId) -> u64 {
        self.one.get(identity).copied().unwrap_or(0).max(self.all)
    }

    /// Raises each to `other`'s, where that is higher.
    pub(crate) fn raise(&mut self, other: &Self) {
        self.all = self.all.max(other.all);
        for (identity, epoch) in &other.one {
            let least = self.one.entry(identity.clone()).or_default();
            *least = (*least).max(*epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROLES: [Role; 2] = [Role::Gateway, Role::Adapter];

    fn id(role: Role) -> SpiffeId {
        SpiffeId::new("demo.cube.internal", "0123456789abcdef", role).unwrap()
    }

    fn epochs() -> impl Strategy<Value = LeastEpochs> {
        let one = prop::collection::vec((prop::sample::select(&ROLES[..]), 0..9u64), 0..3);
        (0..9u64, one).prop_map(|(all, one)| {
            let revocation = |(role, min_epoch)| Revocation { identity: id(role).to_string(), min_epoch };
            LeastEpochs::told(all, one.into_iter().map(revocation).collect()).unwrap()
        })
    }

    #[test]
    fn a_revocation_of_nobody_is_refused() {
        let nobody = Revocation { identity: "gateway".to_owned(), min_epoch: 2 };
        assert_eq!(LeastEpochs::told(1, vec![nobody]), Err(IdentityError::Grammar));
    }

    proptest! {
        /// Whatever is told in whatever order: the highest counts, and nothing is taken back.
        #[test]
        fn the_highest_that_was_told_counts(told in prop::collection::vec(epochs(), 0..6)) {
            let mut least = LeastEpochs::default();
            for (at, next) in told.iter().enumerate() {
                least.raise(next);
                for role in ROLES {
                    let highest = told[..=at].iter().map(|told| told.of(&id(role))).max().unwrap();
                    prop_assert_eq!(least.of(&id(role)), highest);
                }
            }
        }
    }
}
