//! Certificates from the key server.

use std::time::Duration;

use http::StatusCode;
use snp_evidence::Vek;
use snp_simulator::{Guest, Product, ReportVersion, Tcb};

use super::{
    fake_kds::{FakeKds, Mood},
    world::*,
};
use crate::backoff::Backoff;

#[tokio::test]
async fn the_vcek_of_the_reported_tcb_is_fetched_once() {
    let (kds, processor) = (FakeKds::start_with_tls().await, genoa());
    kds.put(genoa_path(), processor.vek_der());
    let mut world = World::new(&[&kds]);
    let keeper = world.keeper();
    let newer = Some(Tcb { microcode: 99, ..Product::Genoa.tcb() });
    // The firmware was updated and not committed: the key is still that of the reported TCB.
    let guest = Guest { current_tcb: newer, committed_tcb: newer, launch_tcb: newer, ..Guest::default() };
    for _ in 0..3 {
        let endorsed = keeper.endorse(bare(&processor, &guest), PATIENCE).await.unwrap();
        assert_eq!(endorsed.endorsements.vek, Some(Vek::Vcek(processor.vek_der().to_vec())));
        assert_eq!((endorsed.endorsements.ask, endorsed.endorsements.asvk), (None, None));
    }
    assert_eq!(kds.asked(), [genoa_path()]);
    assert!(world.counts("cube_kds_requests_total{item=\"vcek\",outcome=\"ok\"} 1"));
    assert!(world.counts("cube_collateral_total{item=\"vcek\",source=\"kds\"} 1"));
}

#[tokio::test]
async fn turins_name_has_the_fmc_and_eight_bytes_of_chip() {
    let kds = FakeKds::start().await;
    let mut world = World::new(&[&kds]).with_cache();
    world.roots = roots(&TURIN);
    let keeper = world.keeper();
    let path = |fmc| {
        format!("/vcek/v1/Turin/0707070707070707?fmcSPL=0{fmc}&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81")
    };
    // Two certificates that differ in the FMC alone are two certificates, on the server and in the cache.
    for fmc in [1, 2] {
        let tcb = Tcb { fmc, ..Product::Turin.tcb() };
        let processor = TURIN.make_processor(&chip(Product::Turin, 7, tcb)).unwrap();
        kds.put(path(fmc), processor.vek_der());
        assert_eq!(found(&keeper, &processor).await.unwrap(), processor.vek_der());
        assert_eq!(kds.asked(), [path(fmc)]);
        let kept = std::fs::read(world.cache().join(path(fmc).trim_start_matches('/'))).unwrap();
        assert_eq!(kept, processor.vek_der());
    }
}

#[tokio::test]
async fn a_report_that_does_not_name_its_processor_is_tried_as_each() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.put(genoa_path(), processor.vek_der());
    let mut world = World::new(&[&kds]);
    let guest = Guest { version: ReportVersion::V2, ..Guest::default() };
    let endorsed = world.keeper().endorse(bare(&processor, &guest), PATIENCE).await.unwrap();
    assert_eq!(endorsed.endorsements.vek, Some(Vek::Vcek(processor.vek_der().to_vec())));
    assert_eq!(kds.asked(), [genoa_path().replace("Genoa", "Milan"), genoa_path()]);
}

#[tokio::test]
async fn a_server_that_fails_or_lies_is_passed_over_for_its_mirror() {
    let processor = genoa();
    let other = |tcb, id| GENOA.make_processor(&chip(Product::Genoa, id, tcb)).unwrap().vek_der().to_vec();
    let tcb = Product::Genoa.tcb();
    let mut damaged = processor.vek_der().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let lie = |bytes: &[u8]| Mood::Lying(bytes.to_vec());
    for (mood, why) in [
        (Mood::Dead, "gave no HTTP answer"),
        (Mood::Refusing(StatusCode::NOT_FOUND), "answers 404"),
        (Mood::Refusing(StatusCode::FOUND), "answers 302"),
        (Mood::Refusing(StatusCode::INTERNAL_SERVER_ERROR), "answers 500"),
        (Mood::Refusing(StatusCode::SERVICE_UNAVAILABLE), "answers 503"),
        (Mood::Throttling(None), "answers 429"),
        (Mood::Endless, "more than 65536 bytes"),
        (lie(&vec![0x30; 65_537]), "more than 65536 bytes"),
        (lie(b""), "neither DER nor PEM"),
        (lie(b"<html><body>Please log in</body></html>"), "neither DER nor PEM"),
        (lie(b"\x30\x03\x02\x01\x07"), "VEK"),
        (lie(&other(tcb, 8)), "of another chip"),
        (lie(&other(Tcb { microcode: 83, ..tcb }, 7)), "certified"),
        (lie(processor_of(&TURIN, Product::Turin).as_slice()), "another name or constraint"),
        (lie(processor_of(&STRANGER, Product::Genoa).as_slice()), "not signed"),
        (lie(processor.ask_der()), "another name or constraint"),
        (lie(&damaged), "not signed"),
        (Mood::Lying(list(&GENOA, -1, 40)), "VEK"),
    ] {
        let (bad, good) = (FakeKds::start().await, FakeKds::start().await);
        good.put(genoa_path(), processor.vek_der());
        bad.is(mood.clone());
        let mut world = World::new(&[&bad, &good]).with_cache();
        assert_eq!(found(&world.keeper(), &processor).await.as_deref(), Ok(processor.vek_der()), "{why}");
        let kept = std::fs::read(world.cache().join(genoa_path().trim_start_matches('/'))).unwrap();
        assert_eq!(kept, processor.vek_der(), "{why}: only what is right is kept");

        let mut alone = World::new(&[&bad]).with_cache();
        let error = found(&alone.keeper(), &processor).await.unwrap_err().to_string();
        for part in [why, &bad.url(), "collateral.directory is not set", "none from the host", "as vcek.der"]
        {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!alone.cache().exists());
    }
}

fn processor_of(root: &snp_simulator::SimulatedRoot, product: Product) -> Vec<u8> {
    processor(root, product).vek_der().to_vec()
}

#[tokio::test]
async fn a_server_that_never_ends_its_answer_is_given_up_in_time() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    for mood in [Mood::Stalling, Mood::Dripping] {
        kds.is(mood);
        let keeper = World::new(&[&kds]).keeper();
        let evidence = bare(&processor, &Guest::default());
        let error = keeper.endorse(evidence, Duration::from_millis(300)).await.unwrap_err().to_string();
        assert!(error.contains("gave no whole answer"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_throttles_is_left_alone_as_long_as_it_asks() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.put(genoa_path(), processor.vek_der());
    kds.is(Mood::Throttling(Some("30")));
    let mut world = World::new(&[&kds]);
    let keeper = world.keeper();
    let error = found(&keeper, &processor).await.unwrap_err().to_string();
    assert!(error.contains("answers 429 Too Many Requests and asks for 30 s"), "{error}");
    kds.is(Mood::Honest);
    world.clock.advance(Duration::from_secs(29));
    let error = found(&keeper, &processor).await.unwrap_err().to_string();
    assert!(error.contains("asks for 30 s (left alone for"), "{error}");
    assert_eq!(kds.asked().len(), 1, "nothing was asked meanwhile");
    // A tenth more at most, so that a fleet does not come back in one moment.
    world.clock.advance(Duration::from_secs(4));
    assert_eq!(found(&keeper, &processor).await.as_deref(), Ok(processor.vek_der()));
    assert!(world.counts("cube_kds_requests_total{item=\"vcek\",outcome=\"throttled\"} 1"));
}

#[tokio::test]
async fn a_failing_server_is_asked_less_and_less() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.is(Mood::Dead);
    let mut world = World::new(&[&kds]);
    let keeper = world.keeper();
    let mut asked = Vec::new();
    for _ in 0..4 {
        // Evidence is asked for every second, for ten minutes.
        for _ in 0..600 {
            drop(found(&keeper, &processor).await.unwrap_err());
            world.clock.advance(Duration::from_secs(1));
        }
        asked.push(kds.asked().len());
    }
    assert!(asked[0] <= 10 && asked[3] <= 4, "{asked:?}");
    assert!(asked[3] >= 2, "{asked:?}: it is asked for ever");
}

#[tokio::test]
async fn many_that_want_the_same_are_one_request() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.put(genoa_path(), processor.vek_der());
    let keeper = World::new(&[&kds]).keeper();
    let all = futures_util::future::join_all((0..32).map(|_| found(&keeper, &processor))).await;
    assert!(all.iter().all(|found| found.as_deref() == Ok(processor.vek_der())));
    assert_eq!(kds.asked(), [genoa_path()]);
}

#[tokio::test]
async fn callers_that_leave_are_no_way_to_ask_more_often() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.is(Mood::Stalling);
    let keeper = World::new(&[&kds]).keeper();
    let under_way = async {
        while kds.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        found = found(&keeper, &processor) => panic!("{found:?}"),
        () = under_way => {}
    }
    for _ in 0..20 {
        let error = found(&keeper, &processor).await.unwrap_err().to_string();
        assert!(error.contains("is being asked (left alone for"), "{error}");
    }
    assert_eq!(kds.asked(), [""; 0]);
}

#[tokio::test]
async fn a_start_goes_on_until_the_server_gives_way() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.put(genoa_path(), processor.vek_der());
    kds.is(Mood::Throttling(Some("0")));
    let mut world = World::new(&[&kds]);
    world.config.backoff = Backoff { first: Duration::ZERO, most: Duration::ZERO };
    let keeper = world.keeper();
    let gives_way = async {
        let mut refused = 0;
        while refused < 3 {
            tokio::task::yield_now().await;
            refused += kds.asked().len();
        }
        kds.is(Mood::Honest);
    };
    let evidence = bare(&processor, &Guest::default());
    let (endorsed, ()) = tokio::join!(keeper.endorse_patiently(evidence), gives_way);
    assert_eq!(endorsed.unwrap().endorsements.vek, Some(Vek::Vcek(processor.vek_der().to_vec())));
}

#[tokio::test]
async fn a_start_ends_at_its_deadline() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.is(Mood::Throttling(Some("3600")));
    let mut world = World::new(&[&kds]);
    world.config.deadline = Duration::from_secs(30);
    let error = world.keeper().endorse_patiently(bare(&processor, &Guest::default())).await.unwrap_err();
    assert!(error.to_string().contains("asks for 3600 s"), "{error}");
    assert_eq!(kds.asked().len(), 1, "it could not be asked again in time");
}

#[tokio::test]
async fn nobody_is_asked_unless_it_is_configured() {
    let processor = genoa();
    let keeper = World::new(&[]).keeper();
    let error = found(&keeper, &processor).await.unwrap_err().to_string();
    let by_hand =
        format!("put https://kdsintf.amd.com{} into collateral.directory as vcek.der", genoa_path());
    assert!(error.contains("kds.urls is empty") && error.contains(&by_hand), "{error}");
}

#[tokio::test]
async fn a_server_that_another_ca_vouches_for_is_not_asked() {
    let (kds, processor) = (FakeKds::start_with_tls().await, genoa());
    kds.put(genoa_path(), processor.vek_der());
    let mut world = World::new(&[&kds]);
    world.config.ca.clear();
    let error = found(&world.keeper(), &processor).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    assert_eq!(kds.asked(), [""; 0]);
}

#[tokio::test]
async fn what_the_host_offers_is_replaced_where_it_is_not_what_the_report_needs() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    kds.put(genoa_path(), processor.vek_der());
    // A host that updated its firmware and not its table.
    let older = Tcb { microcode: 83, ..Product::Genoa.tcb() };
    let older = GENOA.make_processor(&chip(Product::Genoa, 7, older)).unwrap();
    let stale = || {
        let mut evidence = offered(&processor);
        evidence.endorsements.vek = Some(Vek::Vcek(older.vek_der().to_vec()));
        evidence
    };
    let mut world = World::new(&[&kds]);
    let endorsed = world.keeper().endorse(stale(), PATIENCE).await.unwrap();
    assert_eq!(endorsed.endorsements.vek, Some(Vek::Vcek(processor.vek_der().to_vec())));
    assert!(world.counts("cube_collateral_dropped_total{item=\"vcek\",source=\"host\"} 1"));

    let untouched = World::new(&[]).keeper().endorse(stale(), PATIENCE).await.unwrap();
    let same = untouched.endorsements == stale().endorsements;
    assert!(same, "with nowhere to look, verification tells the mismatch");

    kds.is(Mood::Dead);
    let error = World::new(&[&kds]).keeper().endorse(stale(), PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("the host offers another"), "{error}");
}

#[tokio::test]
async fn what_the_host_offers_rightly_costs_no_request() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    let mut world = World::new(&[&kds]);
    let keeper = world.keeper();
    let evidence = offered(&processor);
    assert_eq!(keeper.endorse(evidence.clone(), PATIENCE).await.unwrap(), evidence);
    // And it is remembered, should the host stop offering it.
    assert_eq!(found(&keeper, &processor).await.as_deref(), Ok(processor.vek_der()));
    assert_eq!(kds.asked(), [""; 0]);
    assert!(world.counts("cube_collateral_total{item=\"vcek\",source=\"host\"} 1"));
}

#[tokio::test]
async fn a_masked_chip_has_no_name_to_ask_for() {
    let (kds, processor) = (FakeKds::start().await, genoa());
    let guest = Guest { mask_chip_id: true, ..Guest::default() };
    let error = World::new(&[&kds]).keeper().endorse(bare(&processor, &guest), PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("since the host masks it"), "{error}");
    assert_eq!(kds.asked(), [""; 0]);
}

#[tokio::test]
async fn a_vlek_gets_its_issuer_and_never_an_ask() {
    let kds = FakeKds::start().await;
    let spec = chip(Product::Genoa, 7, Product::Genoa.tcb());
    let processor = GENOA.make_vlek_processor(&spec, "CN=provider.example").unwrap();
    let chain = GENOA.root_pem();
    let block = "-----BEGIN CERTIFICATE-----";
    let asvk = format!("{block}{}", chain.split(block).nth(3).unwrap());
    let ark = format!("{block}{}", chain.split(block).nth(1).unwrap());
    kds.put("/vlek/v1/Genoa/cert_chain", asvk + &ark);
    let mut world = World::new(&[&kds]).with_cache().with_directory(&[
        ("vlek.der", processor.vek_der()),
        ("ask.pem", processor.ask_der()),
        ("vcek.der", genoa().vek_der()),
    ]);
    for (evidence, requests) in [(offered(&processor), 1), (bare(&processor, &Guest::default()), 0)] {
        let endorsed = world.keeper().endorse(evidence, PATIENCE).await.unwrap().endorsements;
        assert_eq!(endorsed.vek, Some(Vek::Vlek(processor.vek_der().to_vec())));
        assert_eq!((endorsed.ask, endorsed.asvk.as_deref()), (None, Some(processor.asvk_der())));
        assert_eq!(kds.asked().len(), requests, "the second start has it in its cache");
    }
    // The ASK in its place is not taken, nor what a stranger made.
    for other in [processor.ask_der(), processor_asvk(&STRANGER).as_slice()] {
        kds.is(Mood::Lying(other.to_vec()));
        let error = World::new(&[&kds]).keeper().endorse(offered(&processor), PATIENCE).await.unwrap_err();
        assert!(error.to_string().contains("not the pinned ASVK of genoa"), "{error}");
    }
    let error = World::new(&[&kds]).keeper().endorse(bare(&processor, &Guest::default()), PATIENCE).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("only the cloud provider hands it out"), "{error}");
}

fn processor_asvk(root: &snp_simulator::SimulatedRoot) -> Vec<u8> {
    processor(root, Product::Genoa).asvk_der().to_vec()
}

#[tokio::test]
async fn a_report_without_sense_is_left_to_verification() {
    let kds = FakeKds::start().await;
    let mut evidence = bare(&genoa(), &Guest::default());
    evidence.report[0] = 99;
    let keeper = World::new(&[&kds]).keeper();
    assert_eq!(keeper.endorse(evidence.clone(), PATIENCE).await.unwrap(), evidence);
    assert_eq!(kds.asked(), [""; 0]);
}
