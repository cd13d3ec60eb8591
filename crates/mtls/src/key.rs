//! A service's private key. It is made here, stays in memory, and leaves only as signatures.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rcgen::{CertificateParams, PublicKeyData};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

/// A P-256 key pair of one service or one public listener.
///
/// The private half exists only inside AWS-LC, which clears it when the last handle is dropped:
/// there is no encoded copy to leak (ARCHITECTURE.md, invariant 9).
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

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
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

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_half_is_not_shown() {
        let shown = format!("{:?}", ServiceKey::generate().unwrap());
        assert_eq!(shown, "ServiceKey(P-256, private half not shown)");
    }
}
