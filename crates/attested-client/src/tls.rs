//! How the TLS connection is made, and what may stand behind the server's key.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            default_provider,
            kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768},
        },
    },
    server::ParsedCertificate,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

/// What must vouch for the server's name. Evidence must vouch for its key in either case.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// The certificate comes from the CVM's own CA, whose name proves nothing:
    /// the key counts only once the evidence names it.
    EvidenceAlone,
    /// The certificate must also chain to one of these roots and carry the host's name.
    Roots(Arc<RootCertStore>),
}

/// The file holds no usable CA certificates.
#[derive(Debug, thiserror::Error)]
pub enum ServerTrustError {
    /// Not PEM, or a block of it is broken.
    #[error("the CA file is not PEM: {0}")]
    NotPem(String),
    /// No `CERTIFICATE` block.
    #[error("the CA file holds no certificate")]
    Empty,
    /// A certificate cannot be a trust anchor.
    #[error("certificate {index} of the CA file is no trust anchor: {cause}")]
    NotAnAnchor {
        /// Counted from 1.
        index: usize,
        /// What is wrong with it.
        cause: TlsError,
    },
}

impl ServerTrust {
    /// The CA certificates of a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ServerTrustError> {
        let mut roots = RootCertStore::empty();
        for (at, block) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let certificate = block.map_err(|e| ServerTrustError::NotPem(e.to_string()))?;
            roots.add(certificate).map_err(|cause| ServerTrustError::NotAnAnchor { index: at + 1, cause })?;
        }
        if roots.is_empty() { Err(ServerTrustError::Empty) } else { Ok(Self::Roots(Arc::new(roots))) }
    }
}

/// TLS 1.3 with a full handshake each time: a resumed session has another
/// exporter history, and early data would leave before anything is proven.
pub(crate) fn client_config(trust: &ServerTrust) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        ServerTrust::EvidenceAlone => Arc::new(KeyAwaitsEvidence { provider }),
        ServerTrust::Roots(roots) => WebPkiServerVerifier::builder_with_provider(roots.clone(), provider)
            .build()
            .map_err(|e| TlsError::General(e.to_string()))?,
    };
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// The SHA-256 of a certificate's DER SubjectPublicKeyInfo.
pub(crate) fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], TlsError> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, &spki).as_ref());
    Ok(out)
}

/// aws-lc-rs, post-quantum hybrid first: prompts recorded today should stay closed.
fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1], ..default_provider() }
}

/// Accepts a certificate only as the bearer of a key that the evidence must name.
///
/// The handshake still proves that the peer holds the key. The connection is
/// wrapped in [`Unattested`](crate::Unattested), which can send no request of the
/// caller's; [`Offer::appraise`](crate::Offer::appraise) requires this very key in
/// the attested key manifest and this connection's exporter in the report.
#[derive(Debug)]
struct KeyAwaitsEvidence {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KeyAwaitsEvidence {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        ParsedCertificate::try_from(leaf).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, HandshakeKind, NamedGroup, ServerConfig, ServerConnection};

    use super::*;

    #[test]
    fn key_exchange_is_post_quantum_first_and_early_data_is_off() {
        let config = client_config(&ServerTrust::EvidenceAlone).unwrap();
        assert_eq!(config.crypto_provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
        assert!(!config.enable_early_data && config.alpn_protocols == [b"h2"]);
    }

    /// A server that gives tickets.
    fn server() -> Arc<ServerConfig> {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = issued.signing_key.serialize_der().try_into().unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
        let builder = builder.with_protocol_versions(&[&TLS13]).unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![issued.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// How two connections of one configuration were made, tickets of the first being at hand for the second.
    fn two_handshakes(client: ClientConfig) -> [Option<HandshakeKind>; 2] {
        let (client, server) = (Arc::new(client), server());
        [(); 2].map(|()| {
            let mut client = ClientConnection::new(client.clone(), "localhost".try_into().unwrap()).unwrap();
            let mut server = ServerConnection::new(server.clone()).unwrap();
            while client.wants_write() || server.wants_write() {
                pass(&mut client, &mut server);
                pass(&mut server, &mut client);
            }
            client.handshake_kind()
        })
    }

    fn pass<A, B>(from: &mut rustls::ConnectionCommon<A>, to: &mut rustls::ConnectionCommon<B>) {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            to.read_tls(&mut rest).unwrap();
            to.process_new_packets().unwrap();
        }
    }

    #[test]
    fn every_handshake_is_full() {
        let mut config = client_config(&ServerTrust::EvidenceAlone).unwrap();
        assert_eq!(two_handshakes(config.clone()), [Some(HandshakeKind::Full); 2]);
        config.resumption = Resumption::default();
        assert_eq!(two_handshakes(config)[1], Some(HandshakeKind::Resumed), "the server would resume");
    }

    #[test]
    fn a_file_without_usable_anchors_is_refused() {
        assert!(matches!(ServerTrust::from_pem(b"no pem"), Err(ServerTrustError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(ServerTrust::from_pem(broken), Err(ServerTrustError::NotAnAnchor { index: 1, .. })));
    }
}
