//! X.509 as AMD's secure processor chain uses it, and nothing wider: RSASSA-PSS with SHA-384 by RSA keys.
//!
//! rustls-webpki cannot build this chain (it refuses AMD's explicit `trailerField`), and no certificate
//! library checks the signature parameters, so both are done here over the raw bytes.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_parser::{
    der_parser::asn1_rs::Tag,
    oid_registry::{
        OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS,
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE,
    },
    prelude::{FromDer, X509Certificate, X509Extension},
    x509::{AlgorithmIdentifier, X509Version},
};

use crate::time::UnixTime;

/// RSASSA-PSS-params: SHA-384, MGF1 with SHA-384, salt of 48 bytes; content of the SEQUENCE.
const PSS_SHA384: &[u8] = b"\xA0\x0F\x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xA1\x1C\x30\x1A\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x08\x30\x0D\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xA2\x03\x02\x01\x30";
/// `trailerField` written out although it is the default, as ARK, ASK, ASVK and old VCEKs do.
const PSS_TRAILER: &[u8] = b"\xA3\x03\x02\x01\x01";

/// A certificate of AMD's form. Nothing is verified but the form.
#[derive(Debug)]
pub(crate) struct Certificate<'a>(X509Certificate<'a>);

/// Why DER is no certificate of AMD's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("not an X.509 v3 certificate")]
    Malformed,
    #[error("trailing bytes after the certificate")]
    Trailing,
    #[error("inner and outer signature algorithm differ")]
    AlgorithmsDiffer,
    #[error("signature algorithm is not RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48")]
    Algorithm,
    #[error("unused bits in the signature")]
    UnusedBits,
    #[error("unknown critical extension")]
    CriticalExtension,
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, CertificateError> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Trailing);
        }
        if x509.version() != X509Version::V3 {
            return Err(CertificateError::Malformed);
        }
        if x509.tbs_certificate.signature != x509.signature_algorithm {
            return Err(CertificateError::AlgorithmsDiffer);
        }
        if !is_pss_sha384(&x509.signature_algorithm) {
            return Err(CertificateError::Algorithm);
        }
        if x509.signature_value.unused_bits != 0 {
            return Err(CertificateError::UnusedBits);
        }
        if x509.extensions().iter().any(|extension| extension.critical && !is_known(extension)) {
            return Err(CertificateError::CriticalExtension);
        }
        Ok(Self(x509))
    }

    /// The subject's common name, if it has exactly one.
    pub(crate) fn subject_common_name(&self) -> Option<&str> {
        only(self.0.subject().iter_common_name())?.as_str().ok()
    }

    /// The issuer's common name, if it has exactly one.
    pub(crate) fn issuer_common_name(&self) -> Option<&str> {
        only(self.0.issuer().iter_common_name())?.as_str().ok()
    }

    /// Whether `issuer`'s subject is this certificate's issuer, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        self.0.issuer().as_raw() == issuer.0.subject().as_raw()
    }

    /// Whether `issuer`'s key signed exactly these bytes.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        let spki = issuer.0.public_key();
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, &spki.subject_public_key.data);
        spki.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION
            && key.verify(self.0.tbs_certificate.as_ref(), &self.0.signature_value.data).is_ok()
    }

    /// Whether it may issue certificates: a CA by basicConstraints, and by keyUsage where it has one.
    pub(crate) fn is_ca(&self) -> bool {
        let constraints = self.0.basic_constraints().ok().flatten();
        constraints.is_some_and(|constraints| constraints.value.ca)
            && self.0.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
    }

    /// Whether it is an end certificate: basicConstraints, where it has them, say no CA.
    pub(crate) fn is_end(&self) -> bool {
        self.0.basic_constraints().is_ok_and(|found| found.is_none_or(|constraints| !constraints.value.ca))
    }

    pub(crate) fn is_valid_at(&self, now: UnixTime) -> bool {
        let validity = self.0.validity();
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.0)
    }

    /// First and last valid second.
    pub(crate) fn validity(&self) -> String {
        let validity = self.0.validity();
        let [from, to] = [validity.not_before, validity.not_after].map(|at| UnixTime(at.timestamp()));
        format!("{from} to {to}")
    }

    /// The uncompressed point of a P-384 key: 04 ‖ X ‖ Y.
    pub(crate) fn p384_key(&self) -> Option<&[u8]> {
        let spki = self.0.public_key();
        let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
        let point = &spki.subject_public_key;
        let sound = spki.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve == OID_NIST_EC_P384
            && point.unused_bits == 0
            && point.data.len() == 97
            && point.data.first() == Some(&4);
        sound.then_some(point.data.as_ref())
    }

    pub(crate) fn extensions(&self) -> &[X509Extension<'a>] {
        self.0.extensions()
    }
}

fn is_pss_sha384(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let parameters = algorithm.parameters.as_ref().filter(|any| any.tag() == Tag::Sequence);
    let tail = parameters.and_then(|any| any.data.strip_prefix(PSS_SHA384));
    algorithm.algorithm == OID_PKCS1_RSASSAPSS
        && tail.is_some_and(|tail| tail.is_empty() || tail == PSS_TRAILER)
}

fn is_known(extension: &X509Extension<'_>) -> bool {
    extension.oid == OID_X509_EXT_BASIC_CONSTRAINTS || extension.oid == OID_X509_EXT_KEY_USAGE
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use sev::certs::snp::builtin::turin::ARK;
    use x509_parser::pem::Pem;

    use super::*;

    fn ark() -> Vec<u8> {
        Pem::iter_from_buffer(ARK).next().unwrap().unwrap().contents
    }

    /// Every occurrence, or the last one only.
    fn replaced(from: &[u8], to: &[u8], all: bool) -> Vec<u8> {
        let mut der = ark();
        let places: Vec<_> =
            (0..der.len() - from.len()).filter(|at| der[*at..].starts_with(from)).rev().collect();
        for at in places.iter().take(if all { places.len() } else { 1 }) {
            der[*at..at + to.len()].copy_from_slice(to);
        }
        assert_ne!(der, ark());
        der
    }

    fn error(der: &[u8]) -> CertificateError {
        Certificate::parse(der).map(drop).unwrap_err()
    }

    #[test]
    fn only_amds_form_is_read() {
        const SALT: &[u8] = b"\xA2\x03\x02\x01\x30";
        assert_eq!(Certificate::parse(&ark()).map(drop), Ok(()));
        assert_eq!(error(&replaced(SALT, b"\xA2\x03\x02\x01\x20", true)), CertificateError::Algorithm);
        assert_eq!(error(&replaced(PSS_TRAILER, b"\xA3\x03\x02\x01\x02", true)), CertificateError::Algorithm);
        assert_eq!(
            error(&replaced(SALT, b"\xA2\x03\x02\x01\x20", false)),
            CertificateError::AlgorithmsDiffer
        );
        let signature = b"\x03\x82\x02\x01\x00";
        assert_eq!(error(&replaced(signature, b"\x03\x82\x02\x01\x01", false)), CertificateError::UnusedBits);
        let key_usage = b"\x06\x03\x55\x1D\x0F";
        assert_eq!(
            error(&replaced(key_usage, b"\x06\x03\x55\x1D\x7F", true)),
            CertificateError::CriticalExtension
        );
        assert_eq!(error(&[ark(), vec![0]].concat()), CertificateError::Trailing);
        assert_eq!(error(b""), CertificateError::Malformed);
    }

    #[test]
    fn an_authority_has_to_say_that_it_is_one() {
        let (der, leaf) = (ark(), replaced(b"\x30\x03\x01\x01\xFF", b"\x30\x03\x01\x01\x00", true));
        let (authority, leaf) = (Certificate::parse(&der).unwrap(), Certificate::parse(&leaf).unwrap());
        assert!(authority.is_ca() && !authority.is_end());
        assert!(!leaf.is_ca() && leaf.is_end());
        assert!(authority.is_signed_by(&authority) && !leaf.is_signed_by(&authority));
        assert_eq!(authority.p384_key(), None);
    }
}
