//! Reports for the gateway's clients.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use mtls::Role;
use proto::attestation::v1::{
    Binding, CollectCachedEvidenceRequest, CollectEvidenceRequest, CollectEvidenceResponse,
    CollectKeyManifestRequest, EvidenceChallenge,
};
use proto::reason;
use serde_json::Value;
use service_runtime::Clock;
use snp_evidence::{Binder, Challenge, KeyManifest, PUBLIC_LISTENER, Purpose, UnixTime, appraise};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::peer::{Link, NONCE, Peer, assert_refused};
use crate::world::{NOW, PATIENCE, World};

const EXPORTER: [u8; 32] = [0x22; 32];

pub(crate) fn request(gateway: &Peer) -> EvidenceChallenge {
    EvidenceChallenge {
        nonce: Bytes::copy_from_slice(&NONCE),
        binding: Binding::TlsExporter.into(),
        exporter: Bytes::copy_from_slice(&EXPORTER),
        leaf_spki_sha256: Bytes::copy_from_slice(&gateway.listener.spki_sha256()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_gets_reports_bound_to_its_listener() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    let (_kept, enrolled) = gateway.hold(&world).await;
    let link = service.mutual(&enrolled).await;
    let leaf = gateway.listener.spki_sha256();

    let answer = collect(&link, request(&gateway)).await.unwrap();
    let binder = Binder::tls_exporter(leaf, EXPORTER, PUBLIC_LISTENER);
    let bundle = world.appraise(&answer, Purpose::Fresh, binder);
    assert_eq!(bundle.manifest_bytes(), enrolled.bundle.manifest_bytes());

    let spki =
        EvidenceChallenge { binding: Binding::TlsSpki.into(), exporter: Bytes::new(), ..request(&gateway) };
    let answer = collect(&link, spki).await.unwrap();
    world.appraise(&answer, Purpose::Fresh, Binder::tls_spki(leaf, PUBLIC_LISTENER));

    let answer = link.evidence().collect_key_manifest(CollectKeyManifestRequest {}).await.unwrap();
    KeyManifest::parse(&answer.get_ref().key_manifest).unwrap();
    assert_eq!(answer.get_ref().key_manifest, enrolled.bundle.manifest_bytes());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_verdict_is_at_hand_and_is_fresh_for_nobody() {
    let world = World::new();
    let service = world.start().await;
    let (_kept, enrolled) = Peer::new(Role::Gateway).hold(&world).await;
    let link = service.mutual(&enrolled).await;
    let cached =
        async || link.evidence().collect_cached_evidence(CollectCachedEvidenceRequest {}).await.unwrap();
    let purpose = |bundle: &Bytes| {
        serde_json::from_slice::<Value>(bundle).unwrap()["purpose"].as_str().unwrap().to_owned()
    };
    let first = cached().await.into_inner();
    assert_eq!((purpose(&first.bundle).as_str(), first.age_seconds), ("boot", 0));
    let challenge = Challenge { purpose: Purpose::Fresh, nonce: NONCE, binder: Binder::none() };
    let judged = appraise(&first.bundle, &world.roots, &world.policy(), &challenge, UnixTime(NOW));
    assert!(judged.is_err(), "passes for fresh");
    crate::reattest::passes(&world, Duration::from_mins(7)).await;
    let mut later = cached().await.into_inner();
    while purpose(&later.bundle) == "boot" {
        later = cached().await.into_inner();
    }
    assert_eq!(purpose(&later.bundle), "cached");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_role_gets_none() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    let (_kept, _) = gateway.hold(&world).await;
    let (_also_kept, enrolled) = Peer::new(Role::Adapter).hold(&world).await;
    let link = service.mutual(&enrolled).await;
    let refused = collect(&link, request(&gateway)).await;
    assert_refused(refused, Code::PermissionDenied, reason::PEER_NOT_ALLOWED);
    let refused = link.evidence().collect_key_manifest(CollectKeyManifestRequest {}).await;
    assert_refused(refused, Code::PermissionDenied, reason::PEER_NOT_ALLOWED);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_may_not_ask_is_refused() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    let (_kept, enrolled) = gateway.hold(&world).await;
    let link = service.mutual(&enrolled).await;
    let (good, own) = (request(&gateway), gateway.key.spki_sha256());
    let bytes = Bytes::copy_from_slice;
    for (request, code, reason) in [
        (
            EvidenceChallenge { leaf_spki_sha256: bytes(&[7; 32]), ..good.clone() },
            Code::PermissionDenied,
            reason::LISTENER_KEY_UNKNOWN,
        ),
        (
            EvidenceChallenge { leaf_spki_sha256: bytes(&own), ..good.clone() },
            Code::PermissionDenied,
            reason::LISTENER_KEY_UNKNOWN,
        ),
        (
            EvidenceChallenge { leaf_spki_sha256: Bytes::new(), ..good.clone() },
            Code::PermissionDenied,
            reason::LISTENER_KEY_UNKNOWN,
        ),
        (
            EvidenceChallenge { nonce: bytes(&NONCE[1..]), ..good.clone() },
            Code::InvalidArgument,
            reason::NONCE_INVALID,
        ),
        (
            EvidenceChallenge { exporter: bytes(&EXPORTER[1..]), ..good.clone() },
            Code::InvalidArgument,
            reason::BINDING_UNSUPPORTED,
        ),
        (
            EvidenceChallenge { binding: Binding::TlsSpki.into(), ..good.clone() },
            Code::InvalidArgument,
            reason::BINDING_UNSUPPORTED,
        ),
        (
            EvidenceChallenge { binding: Binding::Hpke.into(), ..good.clone() },
            Code::Unimplemented,
            reason::BINDING_UNSUPPORTED,
        ),
        (
            EvidenceChallenge { binding: 99, ..good.clone() },
            Code::InvalidArgument,
            reason::BINDING_UNSUPPORTED,
        ),
    ] {
        assert_refused(collect(&link, request).await, code, reason);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_fails_fails_the_call_and_not_the_service() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    let (_kept, enrolled) = gateway.hold(&world).await;
    let link = service.mutual(&enrolled).await;
    world.device.absent.store(true, Ordering::SeqCst);
    let refused = collect(&link, request(&gateway)).await;
    assert_refused(refused, Code::Unavailable, reason::EVIDENCE_UNAVAILABLE);
    world.device.absent.store(false, Ordering::SeqCst);
    collect(&link, request(&gateway)).await.unwrap();
    service.stop().await;
}

/// The bundle for one challenge.
pub(crate) fn collect(
    link: &Link,
    challenge: EvidenceChallenge,
) -> impl Future<Output = Result<Bytes, Status>> + use<> {
    let mut client = link.evidence();
    async move {
        let request = CollectEvidenceRequest { challenges: vec![challenge] };
        let CollectEvidenceResponse { own, shared } = client.collect_evidence(request).await?.into_inner();
        Ok([own.first().unwrap().clone(), shared].concat().into())
    }
}

/// Requests of others, each with a nonce of its own.
fn nonces(gateway: &Peer, count: u8) -> Vec<EvidenceChallenge> {
    let nonce = |at| Bytes::copy_from_slice(&[0x40 + at; 32]);
    (0..count).map(|at| EvidenceChallenge { nonce: nonce(at), ..request(gateway) }).collect()
}

type Collected = JoinSet<Result<Bytes, Status>>;

/// One request is with the device, which is held, and `others` wait for the next report.
async fn crowd(world: &World, link: &Link, gateway: &Peer, others: u8) -> (Sender<()>, Collected) {
    let (held, mut crowd) = (world.device.hold(), JoinSet::new());
    for (at, request) in [request(gateway)].into_iter().chain(nonces(gateway, others)).enumerate() {
        let collected = collect(link, request);
        crowd.spawn(collected);
        if at == 0 {
            world.device.called.notified().await;
        }
    }
    (held, crowd)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_together_is_answered_by_one_report_each_at_its_own_place() {
    let world = World::new();
    let mut config = world.config();
    config.reports.waiting = 40;
    let service = world.start_with(config).await;
    let gateway = Peer::new(Role::Gateway);
    let (_kept, enrolled) = gateway.hold(&world).await;
    let link = service.mutual(&enrolled).await;
    // The device was called at boot and for the enrolment.
    world.device.called.notified().await;
    let (held, mut crowd) = crowd(&world, &link, &gateway, 41).await;
    // All the others have come when one finds no place.
    crowd.join_next().await.unwrap().unwrap().unwrap_err();
    drop(held);
    let answers = timeout(PATIENCE, crowd.join_all()).await.unwrap();
    let bundles: Vec<_> = answers.into_iter().map(Result::unwrap).collect();

    let own = |bundle: &Bytes| {
        let json: Value = serde_json::from_slice(bundle).unwrap();
        let nonce = json["challenge"]["nonce"].as_str().unwrap();
        let nonce: [u8; 32] = URL_SAFE_NO_PAD.decode(nonce).unwrap().try_into().unwrap();
        (nonce, json["evidence"]["report"].as_str().unwrap().to_owned(), json["tree"]["n"].as_u64().unwrap())
    };
    let binder = || Binder::tls_exporter(gateway.listener.spki_sha256(), EXPORTER, PUBLIC_LISTENER);
    let judge = |bundle: &Bytes, nonce| {
        let challenge = Challenge { purpose: Purpose::Fresh, nonce, binder: binder() };
        appraise(bundle, &world.roots, &world.policy(), &challenge, UnixTime(NOW))
    };
    let reports: BTreeSet<_> = bundles.iter().map(|bundle| own(bundle).1).collect();
    assert_eq!((bundles.len(), reports.len()), (41, 2), "the one under way, and one for all who waited");
    assert_eq!(bundles.iter().filter(|bundle| own(bundle).2 == 40).count(), 40);
    for (at, bundle) in bundles.iter().enumerate() {
        judge(bundle, own(bundle).0).unwrap();
        let others = own(&bundles[(at + 1) % bundles.len()]).0;
        assert!(judge(bundle, others).is_err(), "answers another caller's nonce");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_refused_at_once() {
    let world = World::new();
    let mut config = world.config();
    config.reports.waiting = 3;
    let service = world.start_with(config).await;
    let gateway = Peer::new(Role::Gateway);
    let (_kept, enrolled) = gateway.hold(&world).await;
    let link = service.mutual(&enrolled).await;
    world.device.called.notified().await;
    let (held, mut crowd) = crowd(&world, &link, &gateway, 4).await;
    let refused = crowd.join_next().await.unwrap().unwrap();
    assert_refused(refused, Code::Unavailable, reason::EVIDENCE_UNAVAILABLE);
    drop(held);
    assert!(timeout(PATIENCE, crowd.join_all()).await.unwrap().iter().all(Result::is_ok));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_keeps_nobody_from_enrolling() {
    let world = World::new();
    let mut config = world.config();
    config.reports.waiting = 66;
    let service = world.start_with(config).await;
    let gateway = Peer::new(Role::Gateway);
    let (kept, enrolled) = gateway.hold(&world).await;
    let link = service.mutual(&enrolled).await;
    world.device.called.notified().await;
    let (held, mut crowd) = crowd(&world, &link, &gateway, 67).await;
    // All the others have come when one finds no place.
    crowd.join_next().await.unwrap().unwrap().unwrap_err();

    drop(kept);
    let successor = Peer::new(Role::Gateway);
    let again = successor.hold(&world);
    // The new key is in the manifest: the enrolment asks for its report.
    let listed = async {
        let mut manifest = enrolled.bundle.manifest_bytes().to_vec();
        while manifest == enrolled.bundle.manifest_bytes() {
            let answer = link.evidence().collect_key_manifest(CollectKeyManifestRequest {}).await.unwrap();
            manifest = answer.into_inner().key_manifest.into();
        }
        drop(held);
    };
    timeout(PATIENCE, async { tokio::join!(again, listed) }).await.unwrap();
    assert!(crowd.join_all().await.iter().all(Result::is_ok));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_certificate_is_renewed_in_time() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    for _ in 0..4 {
        let (_kept, enrolled) = gateway.hold(&world).await;
        let link = service.mutual(&enrolled).await;
        link.evidence().collect_key_manifest(CollectKeyManifestRequest {}).await.unwrap();
        crate::reattest::passes(&world, Duration::from_mins(31)).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_at_boot_can_be_set_right() {
    let world = World::new();
    // Simulated AMD certificates, made at NOW, live a day.
    let hour = 3600;
    world.clock.set_unix(NOW + 23 * hour);
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    for ahead in [23 * hour, 20 * hour, 0] {
        world.clock.set_unix(NOW + ahead);
        let (_kept, enrolled) = gateway.hold(&world).await;
        let link = service.mutual(&enrolled).await;
        link.evidence().collect_key_manifest(CollectKeyManifestRequest {}).await.unwrap();
        // What rustls does not look at, since the CA is its anchor, others do.
        let (_, ca) = x509_parser::parse_x509_certificate(&enrolled.answer.trust_bundle[0]).unwrap();
        assert!(ca.validity().not_before.timestamp() <= world.clock.unix());
    }
    service.stop().await;
}
