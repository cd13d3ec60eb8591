//! SHA-2 as arrays.

use aws_lc_rs::digest::{self, Algorithm, SHA256, SHA384, SHA512};

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    of(&SHA256, &[bytes])
}

/// Of the parts, one behind the other.
pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    of(&SHA384, parts)
}

pub(crate) fn sha512(bytes: &[u8]) -> [u8; 64] {
    of(&SHA512, &[bytes])
}

/// `N` is the length of what `algorithm` gives.
fn of<const N: usize>(algorithm: &'static Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; N];
    out.copy_from_slice(context.finish().as_ref());
    out
}
