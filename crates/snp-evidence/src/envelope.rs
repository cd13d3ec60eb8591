//! The outer form that certificates and revocation lists share (RFC 5280, 4.1 and 5.1): what is signed, how, and
//! the signature.
//!
//! The bytes around the signed part are nobody's word. They are therefore read here in DER's one spelling, so that
//! none can be added, dropped or written differently; X.509 libraries let some of that pass.

use x509_parser::{oid_registry::Oid, prelude::X509Extension, x509::AlgorithmIdentifier};

/// Content of AMD's AlgorithmIdentifier: id-RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes, without
/// the header of the parameters, whose length depends on [`PSS_TRAILER`].
const RSASSA_PSS: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0A";
const PSS_SHA384: &[u8] = b"\xA0\x0F\x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xA1\x1C\x30\x1A\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x08\x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xA2\x03\x02\x01\x30";
/// `trailerField` written out although it is the default, as ARK, ASK, ASVK and old VCEKs do.
pub(crate) const PSS_TRAILER: &[u8] = b"\xA3\x03\x02\x01\x01";

/// Why DER is no certificate or list of AMD's form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("not {0}")]
    Malformed(&'static str),
    #[error("its outer structure is not DER, or bytes trail")]
    Envelope,
    #[error("not signed by its issuer")]
    Unsigned,
    #[error("inner and outer signature algorithm differ")]
    AlgorithmsDiffer,
    #[error("signature algorithm is not RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48")]
    Algorithm,
    #[error("the id of an extension is no object identifier")]
    ExtensionId,
    #[error("unknown critical extension {0}")]
    CriticalExtension(String),
    #[error("extension {0} stands twice")]
    DuplicateExtension(String),
    #[error("a list of changes (delta CRL) or for some certificates only")]
    PartialList,
}

/// What was signed, and the signature over exactly these bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes the SEQUENCE of signed part, algorithm and signature apart, if it is nothing else and the algorithm is AMD's.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, FormError> {
        let (algorithm, signed) = Self::parts(der).ok_or(FormError::Envelope)?;
        if is_amds(algorithm) { Ok(signed) } else { Err(FormError::Algorithm) }
    }

    /// With the content of the AlgorithmIdentifier.
    fn parts(der: &'a [u8]) -> Option<(&'a [u8], Self)> {
        let (outer, []) = element(SEQUENCE, der)? else { return None };
        let (message, rest) = element(SEQUENCE, outer.content)?;
        let (algorithm, rest) = element(SEQUENCE, rest)?;
        let (signature, []) = element(BIT_STRING, rest)? else { return None };
        let (0, signature) = signature.content.split_first().map(|(unused, bits)| (*unused, bits))? else {
            return None;
        };
        Some((algorithm.content, Self { message: message.whole, signature }))
    }

    /// The ids of the signed part's extensions are what they have to be.
    pub(crate) fn check_extension_ids(&self) -> Result<(), FormError> {
        ids_are_tagged(self.message).ok_or(FormError::ExtensionId)
    }

    /// The signed part's statement of the algorithm, `inner`, is that of the outer form.
    pub(crate) fn check_algorithm(
        inner: &AlgorithmIdentifier<'_>,
        outer: &AlgorithmIdentifier<'_>,
    ) -> Result<(), FormError> {
        if inner == outer { Ok(()) } else { Err(FormError::AlgorithmsDiffer) }
    }
}

/// Byte by byte: the library reads an object identifier whatever its tag.
fn is_amds(algorithm: &[u8]) -> bool {
    let parameters = algorithm.strip_prefix(RSASSA_PSS).and_then(|rest| element(SEQUENCE, rest));
    let tail = match parameters {
        Some((parameters, [])) => parameters.content.strip_prefix(PSS_SHA384),
        Some(_) | None => None,
    };
    tail.is_some_and(|tail| tail.is_empty() || tail == PSS_TRAILER)
}

/// In the extensions that end a signed part, [3] of certificates and [0] of lists, each id is tagged as one. The library
/// reads an object identifier whatever its tag.
fn ids_are_tagged(message: &[u8]) -> Option<()> {
    let (message, []) = element(SEQUENCE, message)? else { return None };
    let mut rest = message.content;
    let mut last = None;
    while !rest.is_empty() {
        let (tag, member, more) = any_element(rest)?;
        (last, rest) = (Some((tag, member)), more);
    }
    let Some((CERTIFICATE_EXTENSIONS | LIST_EXTENSIONS, wrapped)) = last else { return Some(()) };
    let (list, []) = element(SEQUENCE, wrapped.content)? else { return None };
    rest = list.content;
    while !rest.is_empty() {
        let (extension, more) = element(SEQUENCE, rest)?;
        element(OBJECT_ID, extension.content)?;
        rest = more;
    }
    Some(())
}

/// No extension stands twice, and each that is critical is one of `known`.
pub(crate) fn check_extensions(extensions: &[X509Extension<'_>], known: &[Oid<'_>]) -> Result<(), FormError> {
    for (index, extension) in extensions.iter().enumerate() {
        if extension.critical && !known.contains(&extension.oid) {
            return Err(FormError::CriticalExtension(extension.oid.to_id_string()));
        }
        if extensions.iter().take(index).any(|earlier| earlier.oid == extension.oid) {
            return Err(FormError::DuplicateExtension(extension.oid.to_id_string()));
        }
    }
    Ok(())
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const CERTIFICATE_EXTENSIONS: u8 = 0xA3;
const LIST_EXTENSIONS: u8 = 0xA0;

struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// The first element, which has this tag, and what follows.
fn element(tag: u8, der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (found, element, rest) = any_element(der)?;
    (found == tag).then_some((element, rest))
}

/// Tag of the first element, the element, and what follows. Lengths are in their shortest form, at most 64 KiB.
fn any_element(der: &[u8]) -> Option<(u8, Element<'_>, &[u8])> {
    let (tag, length, header) = match *der {
        [tag, length @ 0..=0x7F, ..] => (tag, usize::from(length), 2),
        [tag, 0x81, length @ 0x80..=0xFF, ..] => (tag, usize::from(length), 3),
        [tag, 0x82, high @ 1..=0xFF, low, ..] => (tag, usize::from(u16::from_be_bytes([high, low])), 4),
        _ => return None,
    };
    let (whole, rest) = der.split_at_checked(header + length)?;
    Some((tag, Element { whole, content: whole.get(header..)? }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signed part of one byte, empty algorithm, signature of two bytes.
    const SMALL: &[u8] = b"\x30\x0A\x30\x01\x01\x30\x00\x03\x03\x00\x0A\x0B";

    #[test]
    fn the_signed_bytes_are_taken_as_they_stand() {
        let (algorithm, signed) = Signed::parts(SMALL).unwrap();
        assert_eq!((signed.message, signed.signature), (&b"\x30\x01\x01"[..], &b"\x0A\x0B"[..]));
        assert_eq!((algorithm, Signed::read(SMALL).map(drop)), (&b""[..], Err(FormError::Algorithm)));
    }

    #[test]
    fn nothing_around_the_signed_bytes_can_be_written_differently() {
        let others: [(&str, &[u8]); 9] = [
            ("empty", b""),
            ("trailing byte", b"\x30\x0A\x30\x01\x01\x30\x00\x03\x03\x00\x0A\x0B\x00"),
            ("fourth part", b"\x30\x0C\x30\x01\x01\x30\x00\x03\x03\x00\x0A\x0B\x05\x00"),
            ("long length", b"\x30\x81\x0A\x30\x01\x01\x30\x00\x03\x03\x00\x0A\x0B"),
            ("indefinite length", b"\x30\x80\x30\x01\x01\x30\x00\x03\x03\x00\x0A\x0B\x00\x00"),
            ("longer than it is", b"\x30\x0B\x30\x01\x01\x30\x00\x03\x03\x00\x0A\x0B"),
            ("another tag", b"\x31\x0A\x30\x01\x01\x30\x00\x03\x03\x00\x0A\x0B"),
            ("unused bits", b"\x30\x0A\x30\x01\x01\x30\x00\x03\x03\x01\x0A\x0B"),
            ("no signature", b"\x30\x07\x30\x01\x01\x30\x00\x03\x00"),
        ];
        for (what, der) in others {
            assert_eq!(Signed::read(der).map(drop), Err(FormError::Envelope), "{what}");
        }
    }
}
