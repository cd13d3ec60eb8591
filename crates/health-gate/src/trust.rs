//! What a verified enrolment makes this process believe.

use std::fmt;

use health_token::{Expected, HealthToken, TokenError, TokenKey};
use mtls::{Role, SpiffeId};

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
    /// Tokens of earlier epochs are void.
    pub(crate) min_epoch: u64,
}

impl Trust {
    /// Judges the token that answers `nonce`.
    pub(crate) fn own_token(
        &self,
        token: &str,
        nonce: &[u8; 32],
        now: i64,
    ) -> Result<HealthToken, TokenError> {
        let (issuer, subject) = (self.issuer(), self.identity.to_string());
        health_token::verify_own(token, &self.expected(&issuer, &subject, &self.spki, now), nonce)
    }

    /// Judges the token of the service at the other end of a connection.
    pub(crate) fn peer_token(&self, token: &str, peer: &Peer, now: i64) -> Result<HealthToken, TokenError> {
        let (issuer, subject) = (self.issuer(), peer.identity.to_string());
        health_token::verify(token, &self.expected(&issuer, &subject, &peer.spki, now))
    }

    fn issuer(&self) -> String {
        self.identity.sibling(Role::Attestation).to_string()
    }

    fn expected<'a>(&'a self, issuer: &'a str, subject: &'a str, spki: &'a [u8], now: i64) -> Expected<'a> {
        Expected {
            keys: &self.token_keys,
            boot_seed: &self.boot_seed,
            min_epoch: self.min_epoch,
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
