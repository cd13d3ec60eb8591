//! The cache and the operator's directory: days without a server, and files that are not what they say.

use std::{fs, time::Duration};

use snp_evidence::Vek;
use snp_simulator::{Guest, Product};

use super::{
    fake_kds::{FakeKds, Mood},
    world::*,
};

/// A server that has everything for [`genoa`].
async fn full_server() -> FakeKds {
    let kds = FakeKds::start().await;
    kds.put(genoa_path(), genoa_vcek());
    kds.put(GENOA_LIST, list(&GENOA, -1, 40));
    kds
}

/// Each call certifies another key, so that there is one.
fn genoa_vcek() -> Vec<u8> {
    MACHINE.vek_der().to_vec()
}

static MACHINE: std::sync::LazyLock<snp_simulator::SecureProcessor> = std::sync::LazyLock::new(genoa);

#[tokio::test]
async fn a_machine_starts_from_its_cache_alone_while_the_server_is_dead_for_days() {
    let kds = full_server().await;
    let mut world = World::new(&[&kds]).with_cache();
    world.list_required = true;
    let first = world.keeper().endorse_patiently(bare(&MACHINE, &Guest::default())).await.unwrap();
    assert!(first.endorsements.vek.is_some() && first.endorsements.crl.is_some());
    kds.is(Mood::Dead);
    kds.asked();
    for _ in 0..5 {
        // The simulator's chain lives for a day only, so that days are hours here; a dead server is asked in vain anyway.
        world.clock.advance(Duration::from_hours(4));
        let keeper = world.keeper();
        let again = keeper.endorse_patiently(bare(&MACHINE, &Guest::default())).await.unwrap();
        assert_eq!(again.endorsements, first.endorsements);
        assert_eq!(kds.asked(), [""; 0], "the start asked nobody");
        keeper.refresh().await;
        assert_eq!(kds.asked(), [GENOA_LIST]);
        assert!(world.counts("cube_crl_alarm 0"));
    }
}

#[tokio::test]
async fn a_running_service_goes_on_while_the_server_is_dead() {
    let kds = full_server().await;
    let mut world = World::new(&[&kds]);
    let keeper = world.keeper();
    let first = keeper.endorse_patiently(bare(&MACHINE, &Guest::default())).await.unwrap();
    keeper.refresh().await;
    kds.is(Mood::Stalling);
    kds.asked();
    for _ in 0..100 {
        world.clock.advance(Duration::from_hours(24));
        let evidence = keeper.endorse(bare(&MACHINE, &Guest::default()), PATIENCE).await.unwrap();
        assert_eq!(evidence.endorsements.vek, first.endorsements.vek);
        assert!(evidence.endorsements.crl.is_some());
    }
    assert_eq!(kds.asked(), [""; 0], "no caller waits for a server");
}

#[tokio::test]
async fn a_file_of_the_cache_that_is_not_what_its_name_says_is_fetched_again_and_never_served() {
    let (right, path) = (genoa_vcek(), genoa_path());
    let another = GENOA.make_processor(&chip(Product::Genoa, 8, Product::Genoa.tcb())).unwrap();
    let stranger = processor(&STRANGER, Product::Genoa);
    let mut damaged = right.clone();
    damaged[200] ^= 1;
    for wrong in
        [damaged.as_slice(), b"", b"<html>", another.vek_der(), stranger.vek_der(), &vec![0x30; 70_000]]
    {
        let kds = full_server().await;
        let mut world = World::new(&[&kds]).with_cache();
        let file = world.cache().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, wrong).unwrap();
        kds.is(Mood::Dead);
        let error = found(&world.keeper(), &MACHINE).await.unwrap_err().to_string();
        assert!(error.contains("collateral.cache: "), "{error}");
        assert!(world.counts("cube_collateral_dropped_total{item=\"vcek\",source=\"cache\"} 1"));
        kds.is(Mood::Honest);
        assert_eq!(found(&world.keeper(), &MACHINE).await.as_deref(), Ok(right.as_slice()));
        assert_eq!(fs::read(&file).unwrap(), right, "and it is right from now on");
    }
}

#[tokio::test]
async fn every_damaged_byte_of_a_kept_certificate_is_noticed() {
    let right = genoa_vcek();
    let mut world = World::new(&[]).with_cache();
    let file = world.cache().join(genoa_path().trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    for at in (0..right.len()).step_by(7) {
        let mut damaged = right.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&file, damaged).unwrap();
        assert!(found(&world.keeper(), &MACHINE).await.is_err(), "byte {at}");
    }
    fs::write(&file, &right).unwrap();
    assert!(found(&world.keeper(), &MACHINE).await.is_ok());
}

#[tokio::test]
async fn a_cache_that_takes_nothing_fails_nothing() {
    let kds = full_server().await;
    let mut world = World::new(&[&kds]).with_cache();
    // A file in the place of the folder, as good as a full disk or a foreign folder.
    fs::write(world.cache(), b"").unwrap();
    for _ in 0..2 {
        assert_eq!(found(&world.keeper(), &MACHINE).await.as_deref(), Ok(genoa_vcek().as_slice()));
        assert_eq!(kds.asked(), [genoa_path()], "each start asks");
    }
}

#[tokio::test]
async fn a_cache_can_be_filled_by_hand_as_the_server_names_its_files() {
    let mut world = World::new(&[]).with_cache();
    for (path, bytes) in [(genoa_path().as_str(), genoa_vcek()), (GENOA_LIST, list(&GENOA, -1, 40))] {
        let file = world.cache().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let endorsed = world.keeper().endorse(bare(&MACHINE, &Guest::default()), PATIENCE).await.unwrap();
    assert_eq!(endorsed.endorsements.vek, Some(Vek::Vcek(genoa_vcek())));
    assert!(endorsed.endorsements.crl.is_some());
}

#[tokio::test]
async fn the_operators_directory_comes_before_cache_and_server() {
    let kds = full_server().await;
    let mut world = World::new(&[&kds]).with_cache().with_directory(&[("vcek.der", &genoa_vcek())]);
    assert_eq!(found(&world.keeper(), &MACHINE).await.as_deref(), Ok(genoa_vcek().as_slice()));
    assert_eq!(kds.asked(), [""; 0]);
    // One that is another chip's is told and passed over.
    let another = GENOA.make_processor(&chip(Product::Genoa, 8, Product::Genoa.tcb())).unwrap();
    let mut world = world.with_directory(&[("vcek.der", another.vek_der())]);
    assert_eq!(found(&world.keeper(), &MACHINE).await.as_deref(), Ok(genoa_vcek().as_slice()));
    kds.is(Mood::Dead);
    fs::remove_dir_all(world.cache()).unwrap();
    let error = found(&world.keeper(), &MACHINE).await.unwrap_err().to_string();
    assert!(error.contains("collateral.directory: of another chip"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told_once() {
    let mut world = World::new(&[]).with_directory(&[("vcek.der", b"<html>")]);
    let keeper = world.keeper();
    let (warnings, _log) = Warnings::of("collateral::keeper");
    for _ in 0..100 {
        assert!(found(&keeper, &MACHINE).await.is_err());
    }
    let lines = warnings.take();
    assert!(lines.len() == 1 && lines[0].contains("vcek.der is neither DER nor PEM"), "{lines:?}");
    fs::write(world.config.directory.as_ref().unwrap().join("vcek.der"), b"").unwrap();
    assert!(found(&keeper, &MACHINE).await.is_err());
    fs::remove_dir_all(world.config.directory.as_ref().unwrap()).unwrap();
    assert!(found(&keeper, &MACHINE).await.is_err());
    let lines = warnings.take();
    assert!(
        lines.len() == 1 && lines[0].contains("is not a directory"),
        "another mistake is news: {lines:?}"
    );
}
