//! X.509 as AMD's secure processor chain uses it, and nothing wider: RSASSA-PSS with SHA-384 by RSA keys.
//!
//! rustls-webpki cannot build this chain (it refuses AMD's explicit `trailerField`), and no certificate
//! library checks the signature parameters, so both are done here over the raw bytes.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_parser::{
    num_bigint::BigUint,
    oid_registry::{
        OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_X509_COMMON_NAME,
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE,
    },
    prelude::{FromDer, X509Certificate, X509Extension, X509Name},
    x509::{SubjectPublicKeyInfo, X509Version},
};

use crate::{
    envelope::{FormError, Signed, check_extensions},
    time::UnixTime,
};

/// 1.3.6.1.4.1.3704.1, AMD's arc, in DER.
const AMD_ARC: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x9C, 0x78, 0x01];

/// A certificate of AMD's form: what the checks ask of it, taken out of its bytes once, so that it can be kept. Nothing is
/// verified but the form.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
pub(crate) struct Certificate {
    der: Vec<u8>,
    subject: Name,
    issuer: Name,
    is_of_issuers_organisation: bool,
    serial: BigUint,
    not_before: UnixTime,
    not_after: UnixTime,
    key: Key,
    is_ca: bool,
    is_end: bool,
    may_sign_lists: bool,
    amd_extensions: Vec<AmdExtension>,
}

#[derive(Debug)]
struct Name {
    raw: Vec<u8>,
    /// If it has exactly one.
    common_name: Option<String>,
}

#[derive(Debug)]
enum Key {
    /// `RSAPublicKey`.
    Rsa(Vec<u8>),
    /// 04 ‖ X ‖ Y.
    P384(Vec<u8>),
    Other,
}

/// An extension below AMD's arc.
#[derive(Debug)]
pub(crate) struct AmdExtension {
    /// What follows the arc in its object id.
    pub(crate) id: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Certificate {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, FormError> {
        const MALFORMED: FormError = FormError::Malformed("an X.509 v3 certificate");
        let signed = Signed::read(der)?;
        let (_, x509) = X509Certificate::from_der(der).map_err(|_| MALFORMED)?;
        if x509.version() != X509Version::V3 {
            return Err(MALFORMED);
        }
        Signed::check_algorithm(&x509.tbs_certificate.signature, &x509.signature_algorithm)?;
        signed.check_extension_ids()?;
        check_extensions(x509.extensions(), &[OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE])?;
        let validity = x509.validity();
        Ok(Self {
            der: der.to_vec(),
            subject: Name::of(x509.subject()),
            issuer: Name::of(x509.issuer()),
            is_of_issuers_organisation: organisation(x509.subject()).eq(organisation(x509.issuer())),
            serial: x509.tbs_certificate.serial.clone(),
            not_before: UnixTime(validity.not_before.timestamp()),
            not_after: UnixTime(validity.not_after.timestamp()),
            key: Key::of(x509.public_key()),
            is_ca: is_ca(&x509),
            is_end: x509
                .basic_constraints()
                .is_ok_and(|found| found.is_none_or(|constraints| !constraints.value.ca)),
            may_sign_lists: x509.key_usage().ok().flatten().is_some_and(|usage| usage.value.crl_sign()),
            amd_extensions: x509.extensions().iter().filter_map(AmdExtension::of).collect(),
        })
    }

    /// The subject's common name, if it has exactly one.
    pub(crate) fn subject_common_name(&self) -> Option<&str> {
        self.subject.common_name.as_deref()
    }

    /// The issuer's common name, if it has exactly one.
    pub(crate) fn issuer_common_name(&self) -> Option<&str> {
        self.issuer.common_name.as_deref()
    }

    /// Whether `issuer`'s subject is this certificate's issuer, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer.raw == issuer.subject.raw
    }

    /// Whether this is its subject, byte for byte.
    pub(crate) fn is_called(&self, name: &X509Name<'_>) -> bool {
        name.as_raw() == self.subject.raw
    }

    /// Whether subject and issuer are of one organisation: their names differ in nothing but the common name.
    pub(crate) fn is_of_issuers_organisation(&self) -> bool {
        self.is_of_issuers_organisation
    }

    /// This certificate's RSA key signed the certificate or list `der`, of which nothing else is read for that.
    pub(crate) fn check_signed(&self, der: &[u8]) -> Result<(), FormError> {
        let signed = Signed::read(der)?;
        let Key::Rsa(key) = &self.key else { return Err(FormError::Unsigned) };
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key);
        key.verify(signed.message, signed.signature).map_err(|_| FormError::Unsigned)
    }

    /// Whether it may sign revocation lists.
    pub(crate) fn may_sign_lists(&self) -> bool {
        self.may_sign_lists
    }

    /// The whole certificate as it came.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn serial(&self) -> &BigUint {
        &self.serial
    }

    /// Whether it may issue certificates: a CA by basicConstraints, and by keyUsage where it has one.
    pub(crate) fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Whether it is an end certificate: basicConstraints, where it has them, say no CA.
    pub(crate) fn is_end(&self) -> bool {
        self.is_end
    }

    pub(crate) fn is_valid_at(&self, now: UnixTime) -> bool {
        (self.not_before.0..=self.not_after.0).contains(&now.0)
    }

    /// First and last valid second.
    pub(crate) fn validity(&self) -> String {
        format!("{} to {}", self.not_before, self.not_after)
    }

    /// The uncompressed point of a P-384 key: 04 ‖ X ‖ Y.
    pub(crate) fn p384_key(&self) -> Option<&[u8]> {
        match &self.key {
            Key::P384(point) => Some(point),
            Key::Rsa(_) | Key::Other => None,
        }
    }

    /// None stands twice.
    pub(crate) fn amd_extensions(&self) -> &[AmdExtension] {
        &self.amd_extensions
    }
}

impl Name {
    fn of(name: &X509Name<'_>) -> Self {
        let common_name = only(name.iter_common_name()).and_then(|name| name.as_str().ok());
        Self { raw: name.as_raw().to_vec(), common_name: common_name.map(str::to_owned) }
    }
}

impl Key {
    fn of(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let bits = &spki.subject_public_key;
        let algorithm = &spki.algorithm.algorithm;
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            return Self::Rsa(bits.data.to_vec());
        }
        let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let p384 = *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_NIST_EC_P384);
        match *bits.data {
            [4, ..] if p384 && bits.unused_bits == 0 && bits.data.len() == 97 => {
                Self::P384(bits.data.to_vec())
            }
            _ => Self::Other,
        }
    }
}

impl AmdExtension {
    fn of(extension: &X509Extension<'_>) -> Option<Self> {
        let id = extension.oid.as_bytes().strip_prefix(AMD_ARC)?.to_vec();
        Some(Self { id, value: extension.value.to_vec() })
    }
}

fn is_ca(x509: &X509Certificate<'_>) -> bool {
    let constraints = x509.basic_constraints().ok().flatten();
    constraints.is_some_and(|constraints| constraints.value.ca)
        && x509.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// The attributes of a name apart from the common name, with their kinds of string.
fn organisation<'n>(name: &'n X509Name<'_>) -> impl Iterator<Item = impl PartialEq + 'n> + 'n {
    let rest = name.iter_attributes().filter(|attribute| *attribute.attr_type() != OID_X509_COMMON_NAME);
    rest.map(|attribute| (attribute.attr_type(), attribute.attr_value()))
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
    use crate::envelope::PSS_TRAILER;

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

    fn error(der: &[u8]) -> FormError {
        Certificate::parse(der).map(drop).unwrap_err()
    }

    #[test]
    fn only_amds_form_is_read() {
        const SALT: &[u8] = b"\xA2\x03\x02\x01\x30";
        assert_eq!(Certificate::parse(&ark()).map(drop), Ok(()));
        assert_eq!(error(&replaced(SALT, b"\xA2\x03\x02\x01\x20", true)), FormError::Algorithm);
        assert_eq!(error(&replaced(PSS_TRAILER, b"\xA3\x03\x02\x01\x02", true)), FormError::Algorithm);
        assert_eq!(error(&replaced(SALT, b"\xA2\x03\x02\x01\x20", false)), FormError::Algorithm);
        // Another tag for the outer algorithm's identifier, which x509-parser reads all the same.
        let outer = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0A";
        assert_eq!(
            error(&replaced(outer, b"\x07\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0A", false)),
            FormError::Algorithm
        );
        let key_usage = b"\x06\x03\x55\x1D\x0F";
        let critical = FormError::CriticalExtension("2.5.29.127".to_owned());
        assert_eq!(error(&replaced(key_usage, b"\x06\x03\x55\x1D\x7F", true)), critical);
        let twice = FormError::DuplicateExtension("2.5.29.15".to_owned());
        assert_eq!(error(&replaced(b"\x06\x03\x55\x1D\x0E", key_usage, true)), twice);
        let version = b"\xA0\x03\x02\x01\x02";
        assert!(matches!(error(&replaced(version, b"\xA0\x03\x02\x01\x01", true)), FormError::Malformed(_)));
    }

    #[test]
    fn an_authority_has_to_say_that_it_is_one() {
        let (der, leaf) = (ark(), replaced(b"\x30\x03\x01\x01\xFF", b"\x30\x03\x01\x01\x00", true));
        let (authority, leaf) = (Certificate::parse(&der).unwrap(), Certificate::parse(&leaf).unwrap());
        assert!(authority.is_ca() && !authority.is_end());
        assert!(!leaf.is_ca() && leaf.is_end());
        assert_eq!(authority.check_signed(authority.der()), Ok(()));
        assert_eq!(authority.check_signed(leaf.der()), Err(FormError::Unsigned));
        assert_eq!(authority.p384_key(), None);
    }
}
