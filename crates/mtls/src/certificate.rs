//! Certificates and requests for them, as far as services read either.

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateSigningRequestParams, PublicKeyData};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::key::{KeyError, sha256};

/// The `SubjectPublicKeyInfo` of a certificate, in DER.
pub fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, KeyError> {
    let parsed = parsed(certificate).ok_or(KeyError::Certificate)?;
    Ok(parsed.public_key().raw.to_vec())
}

/// The serial number of a certificate, big-endian, as DER spells it.
pub fn serial_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, KeyError> {
    let parsed = parsed(certificate).ok_or(KeyError::Certificate)?;
    Ok(parsed.raw_serial().to_vec())
}

/// A certificate as RFC 7468 has it.
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// One X.509 certificate, and nothing behind it.
pub(crate) fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then_some(parsed)
}

/// A certificate request whose signature proves possession of its P-256 key. The names that it
/// asks for are not kept: whoever issues decides the names.
#[derive(Debug)]
pub struct CertificateRequest {
    key: rcgen::PublicKey,
    spki: Vec<u8>,
}

impl CertificateRequest {
    /// Reads PKCS #10 in DER and checks its signature.
    pub fn verify(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR {
            return Err(CsrError::TooLarge(der.len()));
        }
        let (rest, parsed) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        let spki = parsed.certification_request_info.subject_pki.raw.to_vec();
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let key = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(CsrError::from)?
            .public_key;
        // The signature's algorithm says nothing of the curve; only this spelling is P-256, uncompressed.
        if key.subject_public_key_info() != spki || key.der_bytes().len() != P256_POINT {
            return Err(CsrError::KeyType);
        }
        Ok(Self { key, spki })
    }

    /// The proven key, for the issuer.
    pub fn key(&self) -> &rcgen::PublicKey {
        &self.key
    }

    /// The proven key as `SubjectPublicKeyInfo` in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`Self::spki_der`].
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki)
    }
}

/// Why a certificate request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Too long to be looked at.
    #[error("the certificate request is {0} bytes, at most {MAX_CSR} are read")]
    TooLarge(usize),
    /// Not one PKCS #10 request in DER.
    #[error("the certificate request is not one PKCS #10 request in DER")]
    Malformed,
    /// The signature does not prove possession of the key.
    #[error("the certificate request is not signed by its own key")]
    Signature,
    /// The key is of another type.
    #[error("the certificate request must be for an uncompressed P-256 key, signed with SHA-256")]
    KeyType,
}

impl From<rcgen::Error> for CsrError {
    fn from(error: rcgen::Error) -> Self {
        if error == rcgen::Error::InvalidCertificationRequestSignature {
            Self::Signature
        } else {
            Self::Malformed
        }
    }
}

/// Characters of a line of PEM, RFC 7468 section 2.
const LINE: usize = 64;
/// Bytes of an uncompressed P-256 point.
const P256_POINT: usize = 65;
/// Bytes of a certificate request that are looked at; ours have under 300.
const MAX_CSR: usize = 4096;

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;

    use super::*;
    use crate::ServiceKey;

    #[test]
    fn a_request_proves_its_key() {
        let key = ServiceKey::generate().unwrap();
        let request = CertificateRequest::verify(&key.csr_der().unwrap()).unwrap();
        assert_eq!((request.spki_der(), request.spki_sha256()), (key.spki_der(), key.spki_sha256()));
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let (mine, other) = (ServiceKey::generate().unwrap(), ServiceKey::generate().unwrap());
        let mut der = mine.csr_der().unwrap();
        let at = der.windows(91).position(|window| window == mine.spki_der()).unwrap();
        der[at..at + 91].copy_from_slice(other.spki_der());
        assert_eq!(CertificateRequest::verify(&der).unwrap_err(), CsrError::Signature);
    }

    #[test]
    fn other_keys_and_garbage_are_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let foreign = CertificateParams::default().serialize_request(&p384).unwrap();
        assert_eq!(CertificateRequest::verify(foreign.der()).unwrap_err(), CsrError::KeyType);

        let mut trailing = ServiceKey::generate().unwrap().csr_der().unwrap();
        trailing.push(0);
        for garbage in [&b""[..], b"CSR", &trailing] {
            assert_eq!(CertificateRequest::verify(garbage).unwrap_err(), CsrError::Malformed);
        }
        assert_eq!(CertificateRequest::verify(&[0; 5000]).unwrap_err(), CsrError::TooLarge(5000));
    }
}
