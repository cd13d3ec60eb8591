//! Callers from outside that show an X.509-SVID: the identities of an enterprise's own trust domain,
//! which has its own CA and nothing to do with Cube's.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use service_runtime::{Clock, Connection};
use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::certificate::parsed;
use crate::identity::is_trust_domain;
use crate::tls::{provider, time_of};
use crate::verifier::{TLS12, refused};

/// `spiffe://<trust-domain>/<path>` (SPIFFE-ID, section 2): one ID has one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(String);

impl CallerId {
    /// Up to the first `/` of the path.
    pub fn trust_domain(&self) -> &str {
        let rest = self.0.get(SCHEME.len()..).unwrap_or_default();
        rest.split_once('/').map_or(rest, |(domain, _)| domain)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CallerId {
    type Err = CallerError;

    fn from_str(text: &str) -> Result<Self, CallerError> {
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= MAX_ID).ok_or(CallerError::Grammar)?;
        let (domain, path) = rest.split_once('/').ok_or(CallerError::Grammar)?;
        let holds = is_trust_domain(domain) && path.split('/').all(is_segment);
        holds.then(|| Self(text.to_owned())).ok_or(CallerError::Grammar)
    }
}

/// Whom a connection's certificate names, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerCertificate {
    id: CallerId,
    not_after: i64,
}

impl CallerCertificate {
    /// What the client of this connection showed; `None` where it showed nothing. The listener has verified the chain.
    pub fn of(connection: &Connection) -> Option<Self> {
        let leaf = connection.tls.as_ref()?.peer_leaf.as_ref()?;
        Self::read(leaf).ok()
    }

    /// Its identity, as long as the certificate is valid: a connection may outlive it.
    pub fn id_at(&self, now: i64) -> Option<&CallerId> {
        (now <= self.not_after).then_some(&self.id)
    }

    /// X.509-SVID, sections 2 and 4: exactly one URI, and no key that signs certificates. webpki has
    /// refused CAs as leaves, and an extended key usage without `clientAuth`.
    fn read(leaf: &CertificateDer<'_>) -> Result<Self, CallerError> {
        let leaf = parsed(leaf).ok_or(CallerError::Certificate)?;
        let usage = leaf.key_usage().map_err(|_| CallerError::Certificate)?;
        if usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
            return Err(CallerError::SigningKey);
        }
        Ok(Self { id: uri(&leaf)?.parse()?, not_after: leaf.validity().not_after.timestamp() })
    }
}

fn uri<'a>(leaf: &'a X509Certificate<'_>) -> Result<&'a str, CallerError> {
    let names = leaf.subject_alternative_name().map_err(|_| CallerError::Certificate)?;
    let mut uris = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    uris.next().filter(|_| uris.next().is_none()).ok_or(CallerError::Names)
}

/// Whose certificates a public listener takes: one trust domain, and the CAs that may speak for it.
/// Clones see each other's changes.
#[derive(Clone)]
pub struct CallerTrust {
    trust_domain: Arc<str>,
    cas: Arc<ArcSwap<CallerCas>>,
    clock: Arc<dyn Clock>,
}

impl CallerTrust {
    /// `clock` judges certificate dates.
    pub fn new(trust_domain: &str, cas: CallerCas, clock: Arc<dyn Clock>) -> Self {
        Self { trust_domain: trust_domain.into(), cas: Arc::new(ArcSwap::from_pointee(cas)), clock }
    }

    /// Other CAs from the next handshake on.
    pub fn replace(&self, cas: CallerCas) {
        self.cas.store(Arc::new(cas));
    }
}

impl fmt::Debug for CallerTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerTrust").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

/// The CAs of callers; at least one.
#[derive(Clone, Debug)]
pub struct CallerCas(Arc<dyn ClientCertVerifier>);

impl CallerCas {
    /// Reads certificates in PEM.
    pub fn parse(pem: &[u8]) -> Result<Self, CallerError> {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(pem) {
            roots.add(ca.map_err(|_| CallerError::Pem)?).map_err(|_| CallerError::Ca)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
        builder.clear_root_hint_subjects().build().map(Self).map_err(|_| CallerError::NoCa)
    }
}

impl ClientCertVerifier for CallerTrust {
    /// Keys are shown without a certificate, and evidence is for everybody.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = time_of(&*self.clock).ok_or(Error::FailedToGetCurrentTime)?;
        let verified = self.cas.load().0.verify_client_cert(leaf, intermediates, now)?;
        let shown = CallerCertificate::read(leaf).map_err(refused)?;
        if shown.id.trust_domain() == &*self.trust_domain {
            Ok(verified)
        } else {
            Err(refused(CallerError::TrustDomain))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.cas.load().0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.cas.load().0.supported_verify_schemes()
    }
}

/// Why a certificate names no caller, or a file no CA of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// The text is no SPIFFE ID.
    #[error(
        "a caller's ID is spiffe://<trust-domain>/<path> of a-z, A-Z, 0-9, '-', '.', '_', at most 2048 bytes"
    )]
    Grammar,
    /// The certificate is not one X.509 certificate in DER.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The certificate has no URI, or several.
    #[error("the certificate must name exactly one URI")]
    Names,
    /// The key may sign certificates or CRLs.
    #[error("the certificate is for a key that signs certificates, not for a workload")]
    SigningKey,
    /// The CAs do not speak for this trust domain.
    #[error("the certificate is of another trust domain than the one that its CA speaks for")]
    TrustDomain,
    /// The file is no PEM.
    #[error("not PEM")]
    Pem,
    /// A certificate of the file cannot be a trust anchor.
    #[error("holds a certificate that cannot be used as a CA")]
    Ca,
    /// The file holds no certificate.
    #[error("holds no certificate")]
    NoCa,
}

const SCHEME: &str = "spiffe://";
/// SPIFFE-ID, section 2.3.
const MAX_ID: usize = 2048;

/// SPIFFE-ID, section 2.2.
fn is_segment(segment: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id: CallerId = "spiffe://hospital.example/ns/ward/sa/Notes_1.x".parse().unwrap();
        assert_eq!(id.trust_domain(), "hospital.example");
        let long = format!("spiffe://d/{}", "a".repeat(2048));
        for text in [
            "",
            "spiffe://",
            "spiffe://d",
            "spiffe://d/",
            "spiffe://d/a/",
            "spiffe://d//a",
            "spiffe://d/./a",
            "spiffe://d/..",
            "spiffe://d/a%20b",
            "spiffe://d/a?b",
            "spiffe://d/a#b",
            "spiffe://D/a",
            "spiffe://d:1/a",
            "spiffe://u@d/a",
            "SPIFFE://d/a",
            "https://d/a",
            long.as_str(),
        ] {
            assert_eq!(text.parse::<CallerId>(), Err(CallerError::Grammar), "{text}");
        }
    }
}
