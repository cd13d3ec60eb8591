//! Callers that show a certificate to a public listener.

use std::sync::Arc;

use mtls::{CallerCas, CallerCertificate, CallerError, CallerTrust, ServiceKey, Svid};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use service_runtime::{Connection, ServerTls, TlsFacts};

use crate::{
    assert_refused,
    ca::{NOW, TestCa},
    clock, foreign_client, handshake,
};

const DOMAIN: &str = "hospital.example";
const WARD: &str = "spiffe://hospital.example/ns/ward/sa/notes";

fn trust(ca: &TestCa) -> CallerTrust {
    CallerTrust::new(DOMAIN, CallerCas::parse(ca.pem().as_bytes()).unwrap(), clock())
}

fn listener(trust: &CallerTrust) -> ServerTls {
    let own = TestCa::new().svid(&[]);
    mtls::public_server_tls(&own.key, own.chain, Some(trust)).unwrap()
}

fn plain(_: &mut CertificateParams) {}

#[tokio::test]
async fn a_caller_is_who_its_certificate_says_for_as_long_as_it_is_valid() {
    let ca = TestCa::new();
    let server = listener(&trust(&ca));
    let with_dns = |params: &mut CertificateParams| {
        params.subject_alt_names.push(SanType::DnsName("notes.ward".try_into().unwrap()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    };
    let client = foreign_client(ca.leaf(&[WARD], with_dns));
    let (_near, far) = handshake(client, server).await.unwrap();
    let peer_leaf = far.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let facts = TlsFacts { exporter: [0; 32], leaf_spki_sha256: [0; 32], peer_leaf, http2: true };
    let caller = CallerCertificate::of(&Connection { id: 1, tls: Some(facts), unix_peer: None }).unwrap();
    assert_eq!(caller.id_at(NOW).unwrap().as_str(), WARD);
    assert!(caller.id_at(NOW + 3600).is_some() && caller.id_at(NOW + 3601).is_none());
}

#[tokio::test]
async fn a_client_need_not_show_a_certificate() {
    let server = listener(&trust(&TestCa::new()));
    let mut client = Arc::unwrap_or_clone(foreign_client(TestCa::new().svid(&[])));
    client.client_auth_cert_resolver = Arc::new(NoCertificate);
    let (_near, far) = handshake(Arc::new(client), server).await.unwrap();
    assert!(far.get_ref().1.peer_certificates().is_none());
}

#[tokio::test]
async fn what_is_no_certificate_of_a_caller_is_refused_in_the_handshake() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let server = || listener(&trust(&ca));
    let cases: [(Svid, &str); 9] = [
        (other.leaf(&[WARD], plain), "InvalidCertificate(BadSignature)"),
        (ca.leaf(&[WARD], |params| params.not_after = params.not_before), "ExpiredContext"),
        (ca.leaf(&[WARD], |params| params.not_before = params.not_after), "NotValidYetContext"),
        (ca.leaf(&["spiffe://bank.example/notes"], plain), "TrustDomain"),
        (ca.leaf::<&str>(&[], plain), "Names"),
        (ca.leaf(&[WARD, "spiffe://hospital.example/other"], plain), "Names"),
        (ca.leaf(&["https://hospital.example/notes"], plain), "Grammar"),
        (ca.leaf(&[WARD], |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]), "SigningKey"),
        (
            ca.leaf(&[WARD], |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "InvalidPurpose",
        ),
    ];
    for (svid, why) in cases {
        assert_refused(foreign_client(svid), server(), why).await;
    }
    let sub_ca = ca.leaf(&[WARD], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_refused(foreign_client(sub_ca), server(), "CaUsedAsEndEntity").await;
}

#[tokio::test]
async fn a_stolen_certificate_is_of_no_use_without_its_key() {
    let ca = TestCa::new();
    let thief = Svid { key: ServiceKey::generate().unwrap(), chain: ca.leaf(&[WARD], plain).chain };
    assert_refused(foreign_client(thief), listener(&trust(&ca)), "BadSignature").await;
}

#[tokio::test]
async fn other_cas_count_from_the_next_handshake_on() {
    let (before, after) = (TestCa::new(), TestCa::new());
    let trust = trust(&before);
    let server = listener(&trust);
    trust.replace(CallerCas::parse(after.pem().as_bytes()).unwrap());
    assert_refused(foreign_client(before.leaf(&[WARD], plain)), server.clone(), "BadSignature").await;
    handshake(foreign_client(after.leaf(&[WARD], plain)), server).await.unwrap();
}

#[test]
fn a_file_of_cas_holds_certificates() {
    assert_eq!(CallerCas::parse(b"").unwrap_err(), CallerError::NoCa);
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(CallerCas::parse(garbage).unwrap_err(), CallerError::Ca);
    let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert_eq!(CallerCas::parse(cut).unwrap_err(), CallerError::Pem);
}

/// Shows nothing.
#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
