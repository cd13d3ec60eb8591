//! A service's private key. It is made here, stays in memory, and leaves only as signatures.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rcgen::{CertificateParams, CertificateSigningRequestParams, PublicKeyData};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A P-256 key pair of one service or one public listener.
///
/// The private half exists only inside AWS-LC, which clears it when the last handle is dropped:
/// there is no encoded copy to leak (ARCHITECTURE.md, rule 9).
#[derive(Clone)]
pub struct ServiceKey {
    pair: Arc<EcdsaKeyPair>,
    spki: Arc<[u8]>,
}

impl ServiceKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| KeyError::Generate)?;
        let spki = pair.public_key().as_der().map_err(|_| KeyError::Generate)?.as_ref().into();
        Ok(Self { pair: Arc::new(pair), spki })
    }

    /// A PKCS #10 request in DER that proves possession of the key and asks for no name.
    pub fn csr_der(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(self).map_err(|_| KeyError::Sign)?;
        Ok(request.der().to_vec())
    }

    /// The public key as `SubjectPublicKeyInfo` in DER, 91 bytes.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`Self::spki_der`].
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Sign)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(P-256, private half not shown)")
    }
}

impl PublicKeyData for ServiceKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for ServiceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signature(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl SigningKey for ServiceKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for ServiceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signature(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
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

/// The `SubjectPublicKeyInfo` of a certificate, in DER.
pub fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, KeyError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed.public_key().raw.to_vec()),
        _ => Err(KeyError::Certificate),
    }
}

/// The serial number of a certificate, big-endian, as DER spells it.
pub fn serial_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, KeyError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed.raw_serial().to_vec()),
        _ => Err(KeyError::Certificate),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Why a key could not be made or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// AWS-LC made no key.
    #[error("no P-256 key could be made")]
    Generate,
    /// AWS-LC made no signature.
    #[error("the P-256 key could not sign")]
    Sign,
    /// The certificate is not one X.509 certificate in DER.
    #[error("the certificate cannot be read")]
    Certificate,
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

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
/// Bytes of an uncompressed P-256 point.
const P256_POINT: usize = 65;
/// Bytes of a certificate request that are looked at; ours have under 300.
const MAX_CSR: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_private_half_is_not_shown() {
        let shown = format!("{:?}", ServiceKey::generate().unwrap());
        assert_eq!(shown, "ServiceKey(P-256, private half not shown)");
    }
}
