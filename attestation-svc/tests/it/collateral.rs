//! Certificates and revocation lists from a key server that may be throttling, lying or dead (design 4.6).

use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use mtls::Role;
use service_runtime::Exit;
use snp_evidence::Bundle;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::evidence::{collect, request};
use crate::fake_kds::{FakeKds, Mood};
use crate::peer::{Enrolled, Peer};
use crate::world::{World, list, processor};

const DAY: i64 = 86_400;
const LIST: &str = "/vcek/v1/Genoa/crl";

/// Where the server has the VCEK of [`processor`].
fn vcek() -> String {
    let chip = hex::encode(processor().chip().chip_id);
    format!("/vcek/v1/Genoa/{chip}?blSPL=10&teeSPL=00&snpSPL=27&ucodeSPL=84")
}

/// A host that offers no VCEK, a policy that wants a list, and a server that has both.
async fn world() -> (World, FakeKds) {
    let kds = FakeKds::start_with_tls().await;
    kds.put(vcek(), processor().vek_der());
    kds.put(LIST, list(40 * DAY));
    let mut world = World::new();
    world.device.with_vcek = false;
    world.require_list();
    std::fs::write(world.path("kds-ca.pem"), kds.ca_pem.as_ref().unwrap()).unwrap();
    let servers = format!(
        "[collateral]\ncache = \"kept\"\n[kds]\nurls = [\"{}\"]\nca = \"kds-ca.pem\"\n[log]",
        kds.url()
    );
    world.edit("service.toml", "[log]", &servers);
    (world, kds)
}

/// The same, where a start gives up before its reader does.
async fn impatient() -> (World, FakeKds) {
    let (world, kds) = world().await;
    world.edit("service.toml", "[kds]", "[kds]\ndeadline_seconds = 2");
    (world, kds)
}

/// The list that goes along with the evidence of an enrolment.
fn stapled(enrolled: &Enrolled) -> Option<Vec<u8>> {
    list_in(&enrolled.answer.evidence_bundle)
}

fn list_in(bundle: &[u8]) -> Option<Vec<u8>> {
    Bundle::parse(bundle).unwrap().evidence().endorsements.crl
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_lacks_is_fetched_and_goes_along_with_evidence() {
    let (world, kds) = world().await;
    let service = world.start().await;
    assert_eq!(kds.asked(), [vcek(), LIST.to_owned()], "each once, for both reports of the start");
    // The peer judges by the same policy, which requires the list, and has no network.
    let (_link, enrolled) = Peer::new(Role::Gateway).hold(&world).await;
    assert_eq!(stapled(&enrolled), Some(kds.has(LIST)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_neither_ends_a_service_nor_keeps_one_from_starting_again() {
    let (world, kds) = world().await;
    let service = world.start().await;
    kds.is(Mood::Dead);
    crate::reattest::passes(&world, Duration::from_hours(20)).await;
    let (link, enrolled) = Peer::new(Role::Gateway).hold(&world).await;
    assert!(stapled(&enrolled).is_some());
    assert_eq!(service.stop().await, Exit::Clean);
    drop(link);
    kds.asked();
    world.clock.set_unix(crate::world::NOW);
    let again = world.start().await;
    assert!(!kds.asked().contains(&vcek()), "the cache has it");
    let (_link, enrolled) = Peer::new(Role::Gateway).hold(&world).await;
    assert!(stapled(&enrolled).is_some());
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_list_reaches_the_evidence() {
    let (world, kds) = world().await;
    let service = world.start().await;
    service.stop().await;
    // A newer one, and a service that starts from its cache.
    kds.put(LIST, list(41 * DAY));
    let service = world.start().await;
    while !kds.asked().contains(&LIST.to_owned()) {
        tokio::task::yield_now().await;
    }
    let gateway = Peer::new(Role::Gateway);
    let (_link, enrolled) = gateway.hold(&world).await;
    let link = service.mutual(&enrolled).await;
    let newest = async {
        loop {
            let bundle = collect(&link, request(&gateway)).await.unwrap();
            if list_in(&bundle).as_ref() == Some(&kds.has(LIST)) {
                return;
            }
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, newest).await.unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_gets_nothing_ends_in_time_with_its_own_exit_code() {
    for mood in [Mood::Dead, Mood::Stalling, Mood::Throttling(Some("3600")), Mood::Lying(b"<html>".to_vec())]
    {
        let (world, kds) = impatient().await;
        kds.is(mood);
        assert_eq!(world.exit().await, Exit::Collateral);
        assert!(!world.socket("gateway").exists() && !kds.asked().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_the_policy_requires_is_waited_for_and_missed() {
    let (mut world, kds) = impatient().await;
    world.device.with_vcek = true;
    kds.is(Mood::Dead);
    assert_eq!(world.exit().await, Exit::Collateral);
    // One that has ended is judged, by a policy that allows for no delay.
    kds.is(Mood::Lying(list(-30)));
    assert_eq!(world.exit().await, Exit::Collateral);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_was_tried_and_what_to_do() {
    static LINES: Mutex<String> = Mutex::new(String::new());
    struct Log;

    impl Visit for Log {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            write!(LINES.lock().unwrap(), "{field}={value:?} ").unwrap();
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("attestation_svc")
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut Self);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    let (world, kds) = impatient().await;
    kds.is(Mood::Throttling(Some("60")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = service_runtime::CancellationToken::new();
    let run = attestation_svc::run(
        world.config(),
        Box::new(world.device.clone()),
        world.roots.clone(),
        async || Ok(listener),
        world.clock.clone(),
        shutdown,
    );
    let exit = {
        // With one subscriber, the first thread to come by decides for all whether there is one; with two, nobody does.
        let _second = tracing::Dispatch::new(Log);
        let _log = tracing::subscriber::set_default(Log);
        // On this thread alone, so that its log is this one's.
        Box::pin(run).await
    };
    assert_eq!(exit, Exit::Collateral);
    let lines = LINES.lock().unwrap().clone();
    for part in [
        "exit=6",
        "the VCEK of this chip at its reported TCB cannot be had",
        "none from the host",
        "none in collateral.cache",
        "answers 429 Too Many Requests and asks for 60 s",
        "collateral.directory as vcek.der",
    ] {
        assert!(lines.contains(part), "{part} in {lines}");
    }
}
