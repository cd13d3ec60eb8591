//! The health token: a lease of at most 90 s on being believed, bound to the holder's TLS key
//! (docs/spec/health-token.md).
//!
//! `attestation-svc` mints ([`Claims`] in, [`signing_input`] out); `health-gate`
//! calls [`verify`] for a peer's token and [`verify_own`] for the one it was just given. The
//! token keys in [`Expected`] come from a key manifest that a verified SNP report commits to.
//!
//! [`inspect()`] and [`check_signed`] are for people who read tokens, and let nobody in.
//!
//! Pure: token, keys and *now* come in; a [`HealthToken`] or the first failed check comes out. The
//! encoding is JWS (RFC 7515) in exactly one profile, read by code of our own (docs/adr/0002).
//!
//! Nobody outside can make a verdict:
//!
//! ```compile_fail,E0451
//! fn forge(claims: health_token::Claims) -> health_token::HealthToken {
//!     health_token::HealthToken { claims }
//! }
//! ```
#![forbid(unsafe_code)]

mod claims;
mod encoding;
mod inspect;
mod key;
mod verify;

pub use claims::{AFFIRMING, Attested, Claims, Confirmation, Jwk, PROFILE};
pub use encoding::B64Url;
pub use inspect::{Inspected, Issuer, check_signed, inspect};
pub use key::{KeyError, TokenKey};
pub use verify::{Expected, HealthToken, TokenError, verify, verify_own};

use encoding::encode;

/// `typ` of the header: the shape is that of a WIT-SVID.
pub const TYP: &str = "wit+jwt";
/// `alg` of the header.
pub const ALG: &str = "ES384";
/// Longest life of a token, in seconds.
pub const MAX_LIFE: i64 = 90;
/// Longest token, in bytes; ours have about 1,400.
pub const MAX_SIZE: usize = 4096;
/// How far ahead, in seconds, `iat` and `nbf` may lie: two readings of one clock may straddle a step.
pub(crate) const MAX_AHEAD: i64 = 2;

/// The text that an ES384 signature of key `kid` turns into a token: encoded header, `.`, encoded
/// claims. The token is this, `.`, and the 96-byte signature in base64url.
pub fn signing_input(claims: &Claims, kid: &str) -> String {
    let header = serde_json::json!({ "alg": ALG, "kid": kid, "typ": TYP }).to_string();
    // Claims always serialise; were that ever untrue, an empty payload is refused everywhere.
    let payload = serde_json::to_vec(claims).unwrap_or_default();
    format!("{}.{}", encode(header.as_bytes()), encode(&payload))
}

#[cfg(test)]
mod tests;
