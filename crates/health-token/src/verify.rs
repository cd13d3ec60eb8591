//! The checks, in the order of docs/spec/health-token.md; each has its own error.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::claims::{AFFIRMING, Claims, Jwk, PROFILE};
use crate::encoding::{decode, from_json};
use crate::key::TokenKey;
use crate::{ALG, MAX_AHEAD, MAX_LIFE, MAX_SIZE, TYP};

/// What the receiver knows by itself. Nothing here may come from the token or its sender's message.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// Token keys of the verified key manifest.
    pub keys: &'a [TokenKey],
    /// Boot seed of the verified key manifest.
    pub boot_seed: &'a [u8; 32],
    /// From the last answered heartbeat.
    pub min_epoch: u64,
    /// SPIFFE ID of this instance's attestation-svc.
    pub issuer: &'a str,
    /// SPIFFE ID in the certificate of the TLS peer.
    pub subject: &'a str,
    /// `SubjectPublicKeyInfo` in DER of the TLS peer's certificate.
    pub peer_spki: &'a [u8],
    /// Seconds since 1970.
    pub now: i64,
}

/// A token that passed every check. Only [`verify`] and [`verify_own`] make one.
#[derive(Clone, PartialEq, Eq)]
pub struct HealthToken {
    claims: Claims,
}

impl HealthToken {
    /// What the token says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// How long after `now` (seconds since 1970) the token still lives.
    pub fn remaining(&self, now: i64) -> Duration {
        let seconds = self.claims.exp.saturating_sub(now);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

impl fmt::Debug for HealthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthToken").field("sub", &self.claims.sub).field("jti", &self.claims.jti).finish()
    }
}

/// Judges a peer's token.
///
/// `att.key_manifest_sha384` is not compared: the manifest gets a new version with each enrolment,
/// and what it vouches for, the token key and the boot seed, is compared.
pub fn verify(token: &str, expected: &Expected<'_>) -> Result<HealthToken, TokenError> {
    let parts = Parts::read(token)?;
    parts.check_signature(expected.keys)?;
    let claims = parts.claims()?;
    check_issue(&claims, expected.issuer, expected.boot_seed, expected.now)?;
    check(claims.hep >= expected.min_epoch, TokenError::Epoch)?;
    check(Jwk::from_spki(expected.peer_spki).as_ref() == Some(&claims.cnf.jwk), TokenError::Confirmation)?;
    check(claims.sub == expected.subject, TokenError::Subject)?;
    check(claims.ear_status == AFFIRMING, TokenError::Status)?;
    Ok(HealthToken { claims })
}

/// Judges the token that the caller was just given for `nonce`, with the caller's own identity and
/// key as [`Expected::subject`] and [`Expected::peer_spki`]: an old grant cannot be played back.
pub fn verify_own(token: &str, expected: &Expected<'_>, nonce: &[u8; 32]) -> Result<HealthToken, TokenError> {
    let own = verify(token, expected)?;
    check(own.claims.eat_nonce.0 == *nonce, TokenError::Nonce)?;
    Ok(own)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// A token taken apart. Nothing but the header was read.
pub(crate) struct Parts<'t> {
    pub(crate) kid: String,
    input: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Parts<'t> {
    pub(crate) fn read(token: &'t str) -> Result<Self, TokenError> {
        check(token.len() <= MAX_SIZE, TokenError::Size)?;
        let (input, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, payload) = input.split_once('.').ok_or(TokenError::Form)?;
        check(!payload.contains('.'), TokenError::Form)?;
        let part = |text: &str| decode(text).ok_or(TokenError::Encoding);
        let (header, payload, signature) = (part(header)?, part(payload)?, part(signature)?);

        let Header { alg, kid, typ } = from_json(&header).ok_or(TokenError::Header)?;
        check(alg == ALG, TokenError::Algorithm)?;
        check(typ == TYP, TokenError::Type)?;
        Ok(Self { kid, input, payload, signature })
    }

    pub(crate) fn check_signature(&self, keys: &[TokenKey]) -> Result<(), TokenError> {
        let key = keys.iter().find(|key| key.kid() == self.kid).ok_or(TokenError::UnknownKey)?;
        check(key.verify(self.input.as_bytes(), &self.signature), TokenError::Signature)
    }

    /// What it says; to be believed only after [`Parts::check_signature`].
    pub(crate) fn claims(&self) -> Result<Claims, TokenError> {
        from_json(&self.payload).ok_or(TokenError::Claims)
    }
}

/// Whether attestation-svc `issuer` of the boot `boot_seed` issued this, and for *now*.
pub(crate) fn check_issue(
    claims: &Claims,
    issuer: &str,
    boot_seed: &[u8; 32],
    now: i64,
) -> Result<(), TokenError> {
    check(claims.eat_profile == PROFILE, TokenError::Profile)?;
    check(claims.iss == issuer, TokenError::Issuer)?;
    check_times(claims, now)?;
    check(claims.bootseed.0 == *boot_seed, TokenError::BootSeed)
}

fn check_times(claims: &Claims, now: i64) -> Result<(), TokenError> {
    let latest = now.saturating_add(MAX_AHEAD);
    check(claims.iat <= latest, TokenError::IssuedAhead)?;
    check(claims.nbf <= latest, TokenError::NotYetValid)?;
    let span = claims.exp.checked_sub(claims.iat).filter(|span| (1..=MAX_LIFE).contains(span));
    check(span.is_some(), TokenError::Span)?;
    check(now < claims.exp, TokenError::Expired)
}

pub(crate) fn check(holds: bool, otherwise: TokenError) -> Result<(), TokenError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// The first check that a token failed. Says nothing of the token's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Over 4096 bytes.
    #[error("the health token is larger than {MAX_SIZE} bytes")]
    Size,
    /// Not three parts.
    #[error("a health token is three parts with dots between")]
    Form,
    /// A part is not unpadded base64url in its one spelling.
    #[error("a part of the health token is not strict base64url")]
    Encoding,
    /// The header has other members than `alg`, `kid` and `typ`, each once.
    #[error("the health token's header must have exactly alg, kid and typ")]
    Header,
    /// `alg` is not ES384.
    #[error("the health token's algorithm is not {ALG}")]
    Algorithm,
    /// `typ` is another.
    #[error("the health token's type is not {TYP}")]
    Type,
    /// No such key in the manifest.
    #[error("the health token is signed by a key that the manifest does not list")]
    UnknownKey,
    /// The signature is not by that key over these bytes.
    #[error("the health token's signature does not hold")]
    Signature,
    /// A claim is missing, twice there, unknown or of another type.
    #[error("the health token's claims are not exactly those of the profile")]
    Claims,
    /// Another profile.
    #[error("the token is not a health token of this profile")]
    Profile,
    /// Another issuer.
    #[error("the health token is not by this instance's attestation-svc")]
    Issuer,
    /// `iat` is more than 2 s ahead.
    #[error("the health token was issued in the future")]
    IssuedAhead,
    /// `nbf` is more than 2 s ahead.
    #[error("the health token is not valid yet")]
    NotYetValid,
    /// `exp - iat` is not 1 to [`MAX_LIFE`].
    #[error("the health token's life is not 1 to {MAX_LIFE} s")]
    Span,
    /// `exp` has come.
    #[error("the health token has expired")]
    Expired,
    /// Of another boot.
    #[error("the health token is of another boot")]
    BootSeed,
    /// Of a revoked epoch.
    #[error("the health token is of a revoked epoch")]
    Epoch,
    /// Bound to another key than the TLS peer's.
    #[error("the health token is bound to another key than this connection's peer")]
    Confirmation,
    /// Of another service than the TLS peer.
    #[error("the health token is another service's than this connection's peer")]
    Subject,
    /// Not affirming.
    #[error("the health token does not affirm")]
    Status,
    /// Not an answer to the request just sent.
    #[error("the health token does not answer the nonce that was sent")]
    Nonce,
}

impl TokenError {
    /// Stable identifier of the failed check, for logs, metadata and test vectors.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Size => "token.size",
            Self::Form => "token.form",
            Self::Encoding => "token.encoding",
            Self::Header => "token.header",
            Self::Algorithm => "token.alg",
            Self::Type => "token.typ",
            Self::UnknownKey => "token.kid",
            Self::Signature => "token.signature",
            Self::Claims => "token.claims",
            Self::Profile => "token.profile",
            Self::Issuer => "token.iss",
            Self::IssuedAhead => "token.iat",
            Self::NotYetValid => "token.nbf",
            Self::Span => "token.span",
            Self::Expired => "token.exp",
            Self::BootSeed => "token.bootseed",
            Self::Epoch => "token.epoch",
            Self::Confirmation => "token.cnf",
            Self::Subject => "token.sub",
            Self::Status => "token.status",
            Self::Nonce => "token.nonce",
        }
    }
}
