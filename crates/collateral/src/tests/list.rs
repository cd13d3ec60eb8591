//! Revocation lists: fetched ahead of their end, never set back, and an alarm where that fails.

use std::{fs, time::Duration};

use snp_simulator::{Guest, Product};

use super::{
    fake_kds::{FakeKds, Mood},
    world::*,
};
use crate::{Keeper, Unavailable};

/// The list beside a report whose VCEK the host offers.
async fn stapled(keeper: &Keeper) -> Option<Vec<u8>> {
    keeper.endorse(offered(&genoa()), PATIENCE).await.unwrap().endorsements.crl
}

/// A server with one list, and a keeper that has seen a report.
async fn with_list(list: Vec<u8>) -> (FakeKds, World, Keeper) {
    let kds = FakeKds::start().await;
    kds.put(GENOA_LIST, list);
    let mut world = World::new(&[&kds]);
    let keeper = world.keeper();
    stapled(&keeper).await;
    (kds, world, keeper)
}

fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

#[tokio::test]
async fn the_list_goes_along_with_every_report_and_is_renewed() {
    let first = list(&GENOA, -1, 40);
    let (kds, world, keeper) = with_list(first.clone()).await;
    assert_eq!(kds.asked(), [""; 0], "no caller waits for it");
    keeper.refresh().await;
    assert_eq!((stapled(&keeper).await, kds.asked().len()), (Some(first.clone()), 1));
    assert!(world.counts(&format!("cube_crl_next_update_seconds {}", NOW + 40 * DAY)));
    let second = list(&GENOA, 0, 41);
    kds.put(GENOA_LIST, second.clone());
    keeper.refresh().await;
    assert_eq!((stapled(&keeper).await, kds.asked().len()), (Some(first), 0), "it is not due yet");
    world.clock.advance(Duration::from_hours(6));
    keeper.refresh().await;
    assert_eq!((stapled(&keeper).await, kds.asked().len()), (Some(second), 1));
}

#[tokio::test]
async fn a_vleks_list_is_another() {
    let kds = FakeKds::start().await;
    let spec = chip(Product::Genoa, 7, Product::Genoa.tcb());
    let processor = GENOA.make_vlek_processor(&spec, "CN=provider.example").unwrap();
    kds.put("/vlek/v1/Genoa/crl", list(&GENOA, -1, 40));
    let mut world = World::new(&[&kds]).with_directory(&[("asvk.pem", processor.asvk_der())]);
    let keeper = world.keeper();
    let evidence = || keeper.endorse(offered(&processor), PATIENCE);
    assert_eq!(evidence().await.unwrap().endorsements.crl, None);
    keeper.refresh().await;
    assert_eq!(evidence().await.unwrap().endorsements.crl, Some(kds.has("/vlek/v1/Genoa/crl")));
    assert_eq!(kds.asked(), ["/vlek/v1/Genoa/crl"]);
}

fn list_of(keeper: &Keeper) -> Vec<u8> {
    keeper.held(&keeper.watch.list().unwrap()).unwrap().der
}

#[tokio::test]
async fn what_is_no_sound_list_is_not_taken_and_the_mirror_is_asked() {
    let good = list(&GENOA, -1, 40);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (wrong, why) in [
        (list(&STRANGER, -1, 40), "not signed by the ARK"),
        (list(&TURIN, -1, 40), "a list of ARK-Turin"),
        (damaged, "not signed by the ARK"),
        (list(&GENOA, 1, 40), "still to come"),
        (genoa().vek_der().to_vec(), "not an X.509 v2 revocation list"),
        (b"<html>".to_vec(), "neither DER nor PEM"),
    ] {
        let (liar, honest) = (FakeKds::start().await, FakeKds::start().await);
        liar.put(GENOA_LIST, wrong);
        honest.put(GENOA_LIST, good.clone());
        let mut world = World::new(&[&liar]);
        world.list_required = true;
        world.config.deadline = Duration::from_secs(1);
        let error = world.keeper().endorse_patiently(offered(&genoa())).await.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("that the policy requires"), "{why} in {error}");
        let mut world = World::new(&[&liar, &honest]);
        world.list_required = true;
        let endorsed = world.keeper().endorse_patiently(offered(&genoa())).await.unwrap();
        assert_eq!(endorsed.endorsements.crl.as_ref(), Some(&good), "{why}");
    }
}

#[tokio::test]
async fn a_list_is_never_set_back() {
    let (kds, world, keeper) = with_list(list(&GENOA, -1, 40)).await;
    keeper.refresh().await;
    let newest = stapled(&keeper).await;
    // Signed and not ended, but from before: as a mirror would serve that hides a revocation.
    kds.put(GENOA_LIST, list(&GENOA, -2, 45));
    world.clock.advance(Duration::from_hours(6));
    keeper.refresh().await;
    assert_eq!(stapled(&keeper).await, newest);
    assert!(world.counts("cube_kds_requests_total{item=\"crl\",outcome=\"unusable\"} 1"));
    // Nor by the host.
    let mut evidence = offered(&genoa());
    evidence.endorsements.crl = Some(list(&GENOA, -2, 45));
    assert_eq!(keeper.endorse(evidence, PATIENCE).await.unwrap().endorsements.crl, newest);
}

#[tokio::test]
async fn the_hosts_list_is_used_where_it_is_newer_and_told_where_it_is_none() {
    let (_kds, _, keeper) = with_list(list(&GENOA, -2, 40)).await;
    let with = |crl: Vec<u8>| {
        let mut evidence = offered(&genoa());
        evidence.endorsements.crl = Some(crl);
        keeper.endorse(evidence, PATIENCE)
    };
    let given = |evidence: Result<snp_evidence::Evidence, Unavailable>| evidence.unwrap().endorsements.crl;
    let forged = list(&STRANGER, 0, 40);
    assert_eq!(given(with(forged.clone()).await), Some(forged.clone()), "verification refuses it");
    keeper.refresh().await;
    assert_eq!(given(with(forged).await), Some(list_of(&keeper)));
    let newer = list(&GENOA, -1, 41);
    assert_eq!(given(with(newer.clone()).await), Some(newer));
}

#[tokio::test]
async fn an_ended_list_is_kept_for_the_policy_to_judge_and_a_mirror_is_asked() {
    let (ended, newer) = (list(&GENOA, -40, -2), list(&GENOA, -30, -1));
    let (one, two) = (FakeKds::start().await, FakeKds::start().await);
    one.put(GENOA_LIST, ended);
    two.put(GENOA_LIST, newer.clone());
    let mut world = World::new(&[&one, &two]).with_cache();
    world.list_required = true;
    world.config.deadline = Duration::from_secs(1);
    let keeper = world.keeper();
    let endorsed = keeper.endorse_patiently(offered(&genoa())).await.unwrap();
    assert_eq!(endorsed.endorsements.crl.as_ref(), Some(&newer), "the newest of those that ended");
    keeper.refresh().await;
    assert!(world.counts("cube_crl_alarm 1"));
    let kept = fs::read(world.cache().join(GENOA_LIST.trim_start_matches('/'))).unwrap();
    assert_eq!(kept, newer);
}

#[tokio::test]
async fn a_list_dropped_into_the_directory_is_taken_up() {
    let mut world = World::new(&[]).with_directory(&[]);
    let keeper = world.keeper();
    assert_eq!(stapled(&keeper).await, None);
    keeper.refresh().await;
    assert!(world.counts("cube_crl_alarm 0"), "nobody asked for lists");
    let (first, second) = (list(&GENOA, -2, 40), list(&GENOA, -1, 41));
    for (dropped, in_use) in [(&first, &first), (&second, &second), (&first, &second)] {
        world = world.with_directory(&[("crl.der", dropped)]);
        keeper.refresh().await;
        assert_eq!(stapled(&keeper).await.as_ref(), Some(in_use));
    }
    assert!(world.counts("cube_crl_alarm 0"));
}

#[tokio::test]
async fn a_server_that_is_dead_for_weeks_is_an_alarm_long_before_the_list_ends() {
    let (warnings, _log) = Warnings::of("collateral::list");
    let told = || {
        let lines = warnings.take();
        let by_hand = format!("{GENOA_LIST} into collateral.directory as crl.der");
        assert!(lines.iter().all(|line| line.contains(&by_hand)), "an alarm says what to do: {lines:?}");
        lines.len()
    };
    let (kds, world, keeper) = with_list(list(&GENOA, -1, 40)).await;
    keeper.refresh().await;
    kds.is(Mood::Dead);
    for _ in 0..32 {
        world.clock.advance(days(1));
        keeper.refresh().await;
    }
    assert!(world.counts("cube_crl_alarm 0") && told() == 0, "eight days are left");
    world.clock.advance(days(1) + Duration::from_secs(1));
    keeper.refresh().await;
    assert!(world.counts("cube_crl_alarm 1"));
    assert_eq!(told(), 1);
    for _ in 0..60 {
        world.clock.advance(Duration::from_mins(1));
        keeper.refresh().await;
    }
    assert_eq!(told(), 0, "once is enough for a day");
    world.clock.advance(days(1));
    keeper.refresh().await;
    assert_eq!(told(), 1);

    kds.is(Mood::Honest);
    kds.put(GENOA_LIST, list(&GENOA, 34, 80));
    world.clock.advance(days(1));
    keeper.refresh().await;
    assert!(world.counts("cube_crl_alarm 0") && told() == 0);
    assert_eq!(stapled(&keeper).await, Some(list_of(&keeper)));
}

#[tokio::test]
async fn a_machine_without_any_list_is_an_alarm_where_lists_are_wanted() {
    let kds = FakeKds::start().await;
    let mut world = World::new(&[&kds]);
    let keeper = world.keeper();
    keeper.refresh().await;
    assert_eq!(kds.asked(), [""; 0], "the first report says which list");
    let evidence = keeper.endorse(offered(&genoa()), PATIENCE).await.unwrap();
    assert_eq!(evidence.endorsements.crl, None);
    keeper.refresh().await;
    assert!(world.counts("cube_crl_alarm 1") && world.counts("cube_crl_next_update_seconds 0"));
    assert_eq!(kds.asked(), [GENOA_LIST]);
}

#[tokio::test]
async fn a_start_without_the_required_list_says_where_it_was_looked_for() {
    let kds = FakeKds::start().await;
    kds.is(Mood::Dead);
    let mut world = World::new(&[&kds]).with_cache();
    world.list_required = true;
    world.config.deadline = Duration::from_secs(1);
    let keeper = world.keeper();
    let error = keeper.endorse_patiently(offered(&genoa())).await.unwrap_err().to_string();
    for part in ["that the policy requires", &kds.url(), "none in collateral.cache", "as crl.der"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    // What is for a start only does not hold up those who come later.
    kds.is(Mood::Stalling);
    kds.asked();
    keeper.endorse(bare_guest(), PATIENCE).await.unwrap_err();
    keeper.endorse(offered(&genoa()), PATIENCE).await.unwrap();
}

fn bare_guest() -> snp_evidence::Evidence {
    bare(&genoa(), &Guest { mask_chip_id: true, ..Guest::default() })
}

#[tokio::test]
async fn watching_ends_when_it_is_told_to() {
    let (_kds, _, keeper) = with_list(list(&GENOA, -1, 40)).await;
    let stop = service_runtime::CancellationToken::new();
    stop.cancel();
    keeper.watch(stop).await;
}
