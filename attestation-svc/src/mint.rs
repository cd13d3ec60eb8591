//! Health tokens. Nothing else in the project mints, and nothing else holds the key.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use health_token::{Claims, TokenKey, signing_input};
use snp_evidence::KeyUse;

use crate::manifest::Listed;

/// The token key. It exists only inside AWS-LC, which clears it at the end.
pub(crate) struct Mint {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
    kid: String,
    seq: u64,
}

impl Mint {
    /// Makes the first key of this boot.
    pub(crate) fn generate() -> Result<Self, MintError> {
        Self::numbered(1)
    }

    /// Makes the key after this one.
    pub(crate) fn successor(&self) -> Result<Self, MintError> {
        Self::numbered(self.seq + 1)
    }

    fn numbered(seq: u64) -> Result<Self, MintError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| MintError)?;
        let spki = pair.public_key().as_der().map_err(|_| MintError)?.as_ref().to_vec();
        let kid = TokenKey::from_spki(&spki).map_err(|_| MintError)?.kid().to_owned();
        Ok(Self { pair, spki, kid, seq })
    }

    /// RFC 7638 thumbprint.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs `claims` into a token.
    pub(crate) fn mint(&self, claims: &Claims) -> Result<String, MintError> {
        let input = signing_input(claims, &self.kid);
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).map_err(|_| MintError)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Listed for Mint {
    const USE: KeyUse = KeyUse::Token;

    fn spki(&self) -> &[u8] {
        &self.spki
    }

    fn seq(&self) -> u64 {
        self.seq
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// AWS-LC made no key or no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no health token could be signed")]
pub(crate) struct MintError;
