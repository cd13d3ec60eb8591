//! A CA as attestation-svc has one, and a client that is less careful than ours.

use mtls::{CertificateRequest, Role, ServiceKey, SpiffeId, Svid};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

pub(crate) const DOMAIN: &str = "demo.cube.internal";
pub(crate) const INSTANCE: &str = "0123456789abcdef";
/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600;

pub(crate) fn id(role: Role) -> SpiffeId {
    SpiffeId::new(DOMAIN, INSTANCE, role).unwrap()
}

pub(crate) struct TestCa(CertifiedIssuer<'static, KeyPair>);

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn bundle(&self) -> Vec<CertificateDer<'static>> {
        vec![self.0.der().clone()]
    }

    /// As the files of a configuration have it.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// An SVID for a new key with these URIs, valid for an hour around [`NOW`].
    pub(crate) fn svid(&self, ids: &[SpiffeId]) -> Svid {
        self.leaf(&ids.iter().map(ToString::to_string).collect::<Vec<_>>(), |_| {})
    }

    /// The same for any URIs, and otherwise as `change` has it.
    pub(crate) fn leaf<S: AsRef<str>>(
        &self,
        uris: &[S],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Svid {
        let key = ServiceKey::generate().unwrap();
        let request = CertificateRequest::verify(&key.csr_der().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = time(NOW - 60);
        params.not_after = time(NOW + 3600);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI(uri.as_ref().try_into().unwrap())).collect();
        change(&mut params);
        let leaf = params.signed_by(request.key(), &self.0).unwrap();
        Svid { key, chain: vec![leaf.der().clone()] }
    }
}

fn time(unix: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix).unwrap()
}

/// Accepts every server, so that a test can see what the server makes of the client.
#[derive(Debug)]
pub(crate) struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
