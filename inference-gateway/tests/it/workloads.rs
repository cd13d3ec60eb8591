//! A CA of callers, as an enterprise has one.

use std::sync::Arc;

use mtls::{CallerCas, CallerTrust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use service_runtime::{Clock, ManualClock};

pub(crate) const DOMAIN: &str = "hospital.example";

/// The CA, and what a listener knows of it.
pub(crate) struct Workloads {
    pub(crate) trust: CallerTrust,
    ca: CertifiedIssuer<'static, KeyPair>,
    clock: Arc<ManualClock>,
}

impl Workloads {
    pub(crate) fn new(clock: Arc<ManualClock>) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let cas = CallerCas::parse(ca.pem().as_bytes()).unwrap();
        Self { trust: CallerTrust::new(DOMAIN, cas, clock.clone()), ca, clock }
    }

    /// A client that trusts `server` and shows a certificate for `id`, valid for five seconds more.
    pub(crate) fn client(&self, server: RootCertStore, id: &str) -> ClientConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let now = time::OffsetDateTime::from_unix_timestamp(self.clock.unix()).unwrap();
        params.not_before = now - time::Duration::minutes(1);
        params.not_after = now + time::Duration::seconds(5);
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        let leaf: CertificateDer<'static> = params.signed_by(&key, &self.ca).unwrap().der().clone();
        ClientConfig::builder()
            .with_root_certificates(server)
            .with_client_auth_cert(vec![leaf], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap()
    }
}
