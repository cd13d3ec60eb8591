//! Token keys: P-384 public keys that a key manifest lists.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey};

use crate::encoding::{B64Url, encode};

/// A key that may sign tokens. Parsed once: a verification is one P-384 operation.
#[derive(Clone)]
pub struct TokenKey {
    kid: String,
    key: ParsedPublicKey,
}

impl TokenKey {
    /// The key in `spki`, a `SubjectPublicKeyInfo` in DER: uncompressed P-384, 120 bytes.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let (x, y) = coordinates::<48>(spki, P384).ok_or(KeyError::Type)?;
        let point = [&[UNCOMPRESSED], x.as_slice(), &y].concat();
        let key = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).map_err(|_| KeyError::Point)?;
        Ok(Self { kid: thumbprint("P-384", B64Url(x), B64Url(y)), key })
    }

    /// RFC 7638 thumbprint: 43 characters of base64url.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// RFC 7638 section 3: required members only, in lexicographic order, without white space.
pub(crate) fn thumbprint<const N: usize>(curve: &str, x: B64Url<N>, y: B64Url<N>) -> String {
    let json = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#);
    encode(digest(&SHA256, json.as_bytes()).as_ref())
}

/// The point of an uncompressed key whose `SubjectPublicKeyInfo` starts with `prefix`.
pub(crate) fn coordinates<const N: usize>(spki: &[u8], prefix: &[u8]) -> Option<([u8; N], [u8; N])> {
    let (x, y) = spki.strip_prefix(prefix)?.strip_prefix(&[UNCOMPRESSED])?.split_at_checked(N)?;
    Some((x.try_into().ok()?, y.try_into().ok()?))
}

const UNCOMPRESSED: u8 = 4;
/// DER up to the point: id-ecPublicKey, prime256v1, BIT STRING of 65 bytes.
pub(crate) const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// DER up to the point: id-ecPublicKey, secp384r1, BIT STRING of 97 bytes.
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";

/// Why a key cannot sign tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the DER of an uncompressed P-384 key.
    #[error("a token key is an uncompressed P-384 SubjectPublicKeyInfo of 120 bytes")]
    Type,
    /// The point is not on the curve.
    #[error("the token key is not a point of P-384")]
    Point,
}
