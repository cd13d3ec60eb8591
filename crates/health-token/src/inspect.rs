//! Tokens for people to read. Nothing here lets anybody in: only `verify` makes a `HealthToken`.

use crate::claims::{AFFIRMING, Claims};
use crate::key::TokenKey;
use crate::verify::{Parts, TokenError, check, check_issue};

/// A well-formed token of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// `kid` of the header.
    pub kid: String,
    /// What it says.
    pub claims: Claims,
}

/// What can be held against a token without its connection and its lease.
#[derive(Debug, Clone)]
pub struct Issuer<'a> {
    /// Token keys of the key manifest.
    pub keys: &'a [TokenKey],
    /// SPIFFE ID of the manifest's attestation-svc.
    pub id: &'a str,
    /// Boot seed of the manifest.
    pub boot_seed: &'a [u8; 32],
}

/// What `token` says, its signature unchecked.
pub fn inspect(token: &str) -> Result<Inspected, TokenError> {
    let parts = Parts::read(token)?;
    Ok(Inspected { claims: parts.claims()?, kid: parts.kid })
}

/// Whether `issuer` signed `token`, for `now` (seconds since 1970). Epoch, holder and the key of the holder's connection
/// are not looked at: that takes the lease and the connection.
pub fn check_signed(token: &str, issuer: &Issuer<'_>, now: i64) -> Result<(), TokenError> {
    let parts = Parts::read(token)?;
    parts.check_signature(issuer.keys)?;
    let claims = parts.claims()?;
    check_issue(&claims, issuer.id, issuer.boot_seed, now)?;
    check(claims.ear_status == AFFIRMING, TokenError::Status)
}
