//! Who gets which identity.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::id;

use bytes::Bytes;
use mtls::{Role, SpiffeId};
use nix::unistd::geteuid;
use proto::attestation::v1::{EnrollRequest, WatchBundleRequest};
use proto::reason;
use rcgen::{CertificateParams, KeyPair, SanType};
use snp_evidence::{Owner, PUBLIC_LISTENER};
use tonic::Code;

use crate::peer::{Link, Peer, assert_refused, certificate};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_its_identity_and_evidence_for_it() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    let (_link, enrolled) = gateway.hold(&world).await;

    let manifest = enrolled.bundle.manifest();
    let id = SpiffeId::from_certificate(&certificate(&enrolled.answer.svid)).unwrap();
    assert_eq!(id.to_string(), manifest.identity(Owner::Gateway));
    assert_eq!(id.trust_domain(), "demo.cube.internal");
    assert_eq!((manifest.version, manifest.prev.is_some()), (2, true));
    assert!(manifest.tls_key(&gateway.listener.spki_sha256(), Owner::Gateway, PUBLIC_LISTENER).is_some());
    let ca = mtls::spki_of(&certificate(&enrolled.answer.trust_bundle[0])).unwrap();
    assert!(manifest.ca_keys().any(|key| key.spki.0 == ca));
    let claims = enrolled.bundle.claims();
    assert_eq!(claims.measured_config_sha256.0, *world.config().measured.sha256());
    assert_eq!(claims.policy_sha256.0, world.policy().sha256());
    assert_eq!(claims.bootseed, manifest.boot_seed);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_have_the_form_that_is_specified() {
    let world = World::new();
    let service = world.start().await;
    let (_link, enrolled) = Peer::new(Role::Gateway).hold(&world).await;
    let (svid, public) = (&enrolled.answer.svid, &enrolled.answer.listener_certificates[0]);
    let mut serials = BTreeSet::new();
    for (der, client, names) in [(svid, true, 1), (public, false, 2)] {
        let (rest, leaf) = x509_parser::parse_x509_certificate(der).unwrap();
        assert!(rest.is_empty());
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.server_auth, usage.client_auth), (true, client));
        assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1, "digitalSignature alone");
        assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
        assert_eq!(leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len(), names);
        let validity = leaf.validity();
        let life = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert_eq!(life, 3600 + 300);
        let text = format!("{:?}", leaf.extensions());
        assert!(text.contains("AuthorityKeyIdentifier") && text.contains("SubjectKeyIdentifier"));
        assert!(serials.insert(leaf.serial.clone()));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_has_one_holder_until_its_connection_closes() {
    let world = World::new();
    let service = world.start().await;
    let (first, second) = (Peer::new(Role::Gateway), Peer::new(Role::Gateway));
    let (held, _) = first.hold(&world).await;

    let link = second.connect(&world).await;
    let refused = link.identities().enroll(second.request(&world)).await;
    assert_refused(refused, Code::AlreadyExists, reason::IDENTITY_IN_USE);
    let again = held.identities().enroll(first.request(&world)).await;
    assert_refused(again, Code::AlreadyExists, reason::IDENTITY_IN_USE);
    Peer::new(Role::Adapter).hold(&world).await;

    drop(held);
    let enrolled = second.enrol(&world, &link).await;
    let manifest = enrolled.bundle.manifest();
    assert!(manifest.tls_key(&first.listener.spki_sha256(), Owner::Gateway, PUBLIC_LISTENER).is_none());
    assert!(manifest.tls_key(&second.listener.spki_sha256(), Owner::Gateway, PUBLIC_LISTENER).is_some());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_comes_back_with_its_keys_changes_no_manifest() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    let (link, first) = gateway.hold(&world).await;
    drop(link);
    let (_link, second) = gateway.hold(&world).await;
    assert_eq!(first.bundle.manifest_bytes(), second.bundle.manifest_bytes());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_another_user_gets_nothing() {
    let world = World::for_uid(geteuid().as_raw() + 1);
    let service = world.start().await;
    let peer = Peer::new(Role::Gateway);
    let link = peer.connect(&world).await;
    let refused = link.identities().enroll(peer.request(&world)).await;
    assert_refused(refused, Code::PermissionDenied, reason::ENROLMENT_WRONG_UID);
    let refused = link.identities().watch_bundle(WatchBundleRequest {}).await;
    assert_refused(refused.map(drop), Code::PermissionDenied, reason::ENROLMENT_WRONG_UID);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_started_with_another_file_gets_nothing() {
    let world = World::new();
    let service = world.start().await;
    let peer = Peer::new(Role::Adapter);
    let link = peer.connect(&world).await;
    for other in [Bytes::from_static(&[1; 32]), Bytes::new()] {
        let request = EnrollRequest { measured_config_sha256: other, ..peer.request(&world) };
        let refused = link.identities().enroll(request).await;
        assert_refused(refused, Code::FailedPrecondition, reason::ENROLMENT_WRONG_CONFIG);
    }
    peer.enrol(&world, &link).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_another_unit_gets_nothing() {
    let mut world = World::new();
    let unit = format!("cube-test-{}.service", id());
    world.name_units([&unit, "backend-adapter.service"]);
    let unit = Unit::enter(&unit);
    let service = world.start().await;
    let (gateway, adapter) = (Peer::new(Role::Gateway), Peer::new(Role::Adapter));
    let refused = adapter.connect(&world).await.identities().enroll(adapter.request(&world)).await;
    assert_refused(refused, Code::PermissionDenied, reason::ENROLMENT_WRONG_UNIT);
    let asked = gateway.connect(&world).await.identities().enroll(gateway.request(&world)).await;
    match unit {
        Some(unit) => drop((asked.unwrap(), unit)),
        None => assert_refused(asked, Code::PermissionDenied, reason::ENROLMENT_WRONG_UNIT),
    }
    service.stop().await;
}

/// This process as if it were of a unit, where it may make a cgroup.
struct Unit(PathBuf);

impl Unit {
    fn enter(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find_map(|line| line.strip_prefix("cgroup2 ")?.split(' ').next());
        let unit = root.map(|root| Self(Path::new(root).join(name)));
        let entered = unit.filter(|unit| {
            fs::create_dir(&unit.0).is_ok()
                && fs::write(unit.0.join("cgroup.procs"), id().to_string()).is_ok()
        });
        if entered.is_none() {
            let why = "no cgroup can be made here: that the right unit is let in is not shown";
            drop(writeln!(io::stderr(), "{why}"));
        }
        entered
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let above = self.0.parent().unwrap();
        fs::write(above.join("cgroup.procs"), id().to_string()).unwrap();
        fs::remove_dir(&self.0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_leave_the_place_free() {
    let world = World::new();
    let service = world.start().await;
    let (gateway, adapter) = (Peer::new(Role::Gateway), Peer::new(Role::Adapter));
    let spoilt = |peer: &Peer, spoil: fn(&mut EnrollRequest)| {
        let mut request = peer.request(&world);
        spoil(&mut request);
        request
    };
    let link = gateway.connect(&world).await;
    let no_csr = reason::CSR_INVALID;
    for (request, reason) in [
        (spoilt(&gateway, |r| r.csr = Bytes::from_static(b"garbage")), no_csr),
        (spoilt(&gateway, |r| r.csr = Bytes::new()), no_csr),
        (spoilt(&gateway, |r| r.listeners[0].csr = r.csr.slice(1..)), no_csr),
        (spoilt(&gateway, |r| r.listeners[0].csr = r.csr.clone()), reason::INVALID_REQUEST),
        (spoilt(&gateway, |r| r.listeners[0].listener = "gateway/other".into()), reason::INVALID_REQUEST),
        (spoilt(&gateway, |r| r.listeners.push(r.listeners[0].clone())), reason::INVALID_REQUEST),
        (spoilt(&gateway, |r| r.nonce = r.nonce.slice(1..)), reason::NONCE_INVALID),
    ] {
        assert_refused(link.identities().enroll(request).await, Code::InvalidArgument, reason);
    }
    gateway.enrol(&world, &link).await;

    let link = adapter.connect(&world).await;
    let mut with_listener = adapter.request(&world);
    with_listener.listeners = gateway.request(&world).listeners;
    let refused = link.identities().enroll(with_listener).await;
    assert_refused(refused, Code::InvalidArgument, reason::INVALID_REQUEST);
    adapter.enrol(&world, &link).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_a_request_are_ignored() {
    let world = World::new();
    let service = world.start().await;
    let key = KeyPair::generate().unwrap();
    let mut wanted = CertificateParams::new(["bank.example".to_owned()]).unwrap();
    let other = "spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/attestation";
    wanted.subject_alt_names.push(SanType::URI(other.try_into().unwrap()));
    let csr = wanted.serialize_request(&key).unwrap().der().to_vec();
    let request = EnrollRequest { csr: csr.into(), ..Peer::new(Role::Adapter).request(&world) };
    let link = Link::unix(&world.socket("adapter")).await;
    let answer = link.identities().enroll(request).await.unwrap().into_inner();
    let id = SpiffeId::from_certificate(&certificate(&answer.svid)).unwrap();
    assert_eq!(id.role(), Role::Adapter, "and no other name, which from_certificate checks");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_is_for_holders() {
    let world = World::new();
    let service = world.start().await;
    let adapter = Peer::new(Role::Adapter);
    let link = adapter.connect(&world).await;
    let refused = link.identities().watch_bundle(WatchBundleRequest {}).await;
    assert_refused(refused.map(drop), Code::FailedPrecondition, reason::NOT_ENROLLED);
    let enrolled = adapter.enrol(&world, &link).await;
    let mut bundles = link.identities().watch_bundle(WatchBundleRequest {}).await.unwrap().into_inner();
    let first = bundles.message().await.unwrap().unwrap();
    assert_eq!(first.trust_bundle, enrolled.answer.trust_bundle);
    service.stop().await;
    assert!(!matches!(bundles.message().await, Ok(Some(_))), "the stream ends with the service");
}
