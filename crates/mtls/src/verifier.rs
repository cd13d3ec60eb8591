//! Chain to the current bundle, then the SPIFFE ID. DNS names play no part.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::identity::SpiffeId;

/// Server side: any service of our own instance. Its role is authorised per RPC.
#[derive(Debug)]
pub(crate) struct SameInstance {
    chain: Arc<dyn ClientCertVerifier>,
    own: SpiffeId,
}

impl SameInstance {
    pub(crate) fn new(chain: Arc<dyn ClientCertVerifier>, own: SpiffeId) -> Self {
        Self { chain, own }
    }
}

impl ClientCertVerifier for SameInstance {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        let peer = SpiffeId::from_certificate(leaf).map_err(refused)?;
        if self.own.same_instance(&peer) { Ok(verified) } else { Err(refused(WrongPeer::of(&peer))) }
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
        self.chain.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Client side: exactly one identity.
#[derive(Debug)]
pub(crate) struct ExactPeer {
    roots: Arc<RootCertStore>,
    peer: SpiffeId,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExactPeer {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        peer: SpiffeId,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { roots, peer, algorithms }
    }
}

impl ServerCertVerifier for ExactPeer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let peer = SpiffeId::from_certificate(leaf).map_err(refused)?;
        if peer == self.peer {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused(WrongPeer::of(&peer)))
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
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A well-made identity, but not the one wanted here.
#[derive(Debug, thiserror::Error)]
#[error("the peer is {0}, which is not whom this connection is for")]
struct WrongPeer(String);

impl WrongPeer {
    fn of(peer: &SpiffeId) -> Self {
        Self(peer.to_string())
    }
}

pub(crate) fn refused(why: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(why))).into()
}

pub(crate) const TLS12: Error =
    Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig);
