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
    x509::X509Version,
};

use crate::{
    envelope::{FormError, Signed, check_extensions},
    time::UnixTime,
};

/// A certificate of AMD's form. Nothing is verified but the form.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    x509: X509Certificate<'a>,
    signed: Signed<'a>,
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, FormError> {
        const MALFORMED: FormError = FormError::Malformed("an X.509 v3 certificate");
        let signed = Signed::read(der)?;
        let (_, x509) = X509Certificate::from_der(der).map_err(|_| MALFORMED)?;
        if x509.version() != X509Version::V3 {
            return Err(MALFORMED);
        }
        signed.check_algorithm(&x509.tbs_certificate.signature, &x509.signature_algorithm)?;
        check_extensions(x509.extensions(), &[OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE])?;
        Ok(Self { x509, signed })
    }

    /// The subject's common name, if it has exactly one.
    pub(crate) fn subject_common_name(&self) -> Option<&str> {
        only(self.x509.subject().iter_common_name())?.as_str().ok()
    }

    /// The issuer's common name, if it has exactly one.
    pub(crate) fn issuer_common_name(&self) -> Option<&str> {
        only(self.x509.issuer().iter_common_name())?.as_str().ok()
    }

    /// Whether `issuer`'s subject is this certificate's issuer, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        self.x509.issuer().as_raw() == issuer.subject().as_raw()
    }

    /// Whether subject and issuer are of one organisation: their names differ in nothing but the common name.
    pub(crate) fn is_of_issuers_organisation(&self) -> bool {
        organisation(self.x509.subject()).eq(organisation(self.x509.issuer()))
    }

    /// Whether `issuer`'s key signed exactly these bytes.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        issuer.verifies(&self.signed)
    }

    /// Whether this certificate's RSA key made the signature.
    pub(crate) fn verifies(&self, signed: &Signed<'_>) -> bool {
        let spki = self.x509.public_key();
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, &spki.subject_public_key.data);
        spki.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION
            && key.verify(signed.message, signed.signature).is_ok()
    }

    /// Whether it may sign revocation lists.
    pub(crate) fn may_sign_lists(&self) -> bool {
        let usage = self.x509.key_usage().ok().flatten();
        usage.is_some_and(|usage| usage.value.crl_sign())
    }

    /// The whole certificate as it came.
    pub(crate) fn der(&self) -> &'a [u8] {
        self.x509.as_raw()
    }

    pub(crate) fn serial(&self) -> &BigUint {
        &self.x509.tbs_certificate.serial
    }

    pub(crate) fn subject(&self) -> &X509Name<'_> {
        self.x509.subject()
    }

    /// Whether it may issue certificates: a CA by basicConstraints, and by keyUsage where it has one.
    pub(crate) fn is_ca(&self) -> bool {
        let constraints = self.x509.basic_constraints().ok().flatten();
        constraints.is_some_and(|constraints| constraints.value.ca)
            && self.x509.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
    }

    /// Whether it is an end certificate: basicConstraints, where it has them, say no CA.
    pub(crate) fn is_end(&self) -> bool {
        self.x509.basic_constraints().is_ok_and(|found| found.is_none_or(|constraints| !constraints.value.ca))
    }

    pub(crate) fn is_valid_at(&self, now: UnixTime) -> bool {
        let validity = self.x509.validity();
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.0)
    }

    /// First and last valid second.
    pub(crate) fn validity(&self) -> String {
        let validity = self.x509.validity();
        let [from, to] = [validity.not_before, validity.not_after].map(|at| UnixTime(at.timestamp()));
        format!("{from} to {to}")
    }

    /// The uncompressed point of a P-384 key: 04 ‖ X ‖ Y.
    pub(crate) fn p384_key(&self) -> Option<&[u8]> {
        let spki = self.x509.public_key();
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
        self.x509.extensions()
    }
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
        assert_eq!(error(&replaced(SALT, b"\xA2\x03\x02\x01\x20", false)), FormError::AlgorithmsDiffer);
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
        assert!(authority.is_signed_by(&authority) && !leaf.is_signed_by(&authority));
        assert_eq!(authority.p384_key(), None);
    }
}
