//! What refuses to start, with which exit code, and that nothing is open then.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use service_runtime::Exit;
use snp_evidence::{EvidenceFormat, TrustRoots};

use crate::world::World;

async fn assert_exit(world: &World, exit: Exit) {
    assert_eq!(world.exit().await, exit);
    assert_eq!(sockets(world), Vec::<PathBuf>::new());
}

/// Every socket that there is.
fn sockets(world: &World) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(world.path("run")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| fs::symlink_metadata(path).unwrap().file_type().is_socket()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_machine_boots_and_cleans_up_behind_itself() {
    let world = World::new();
    let service = world.start().await;
    for role in ["gateway", "adapter"] {
        let mode = fs::symlink_metadata(world.socket(role)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(sockets(&world).len(), 3, "one for each identity, and the administrator's");
    assert_eq!(service.stop().await, Exit::Clean);
    assert_eq!(sockets(&world), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_of_the_measurement_off_is_refused_by_policy() {
    let mut world = World::new();
    world.device.guest.measurement[47] ^= 1;
    assert_exit(&world, Exit::Policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_evidence_is_invalid_under_amds_roots() {
    let mut world = World::new();
    world.roots = TrustRoots::amd();
    assert_exit(&world, Exit::Evidence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_device_is_told_apart() {
    let world = World::new();
    world.device.absent.store(true, Ordering::SeqCst);
    assert_exit(&world, Exit::NoTee).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_certificates_are_told_apart() {
    let mut world = World::new();
    world.device.with_vcek = false;
    assert_exit(&world, Exit::Collateral).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_measured_configuration_is_refused() {
    let world = World::new();
    world.edit("measured.toml", "tenant = \"demo\"", "tenant = \"other\"");
    assert_exit(&world, Exit::Policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_for_two_services_is_for_simulators_only() {
    let mut world = World::new();
    world.device.format = EvidenceFormat::AmdSevSnp;
    assert_exit(&world, Exit::Config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_may_write_to_is_refused() {
    for mode in [0o770, 0o707, 0o777] {
        let world = World::new();
        world.run_dir(mode);
        assert_exit(&world, Exit::Config).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_service_uses_a_folder() {
    let world = World::new();
    let first = world.start().await;
    assert_eq!(world.exit().await, Exit::Config);
    assert!(world.socket("gateway").exists(), "the first one's socket stays");
    assert_eq!(first.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_left_behind_is_replaced_and_anything_else_is_not() {
    let world = World::new();
    let folder = world.run_dir(0o711);
    drop(std::os::unix::net::UnixListener::bind(world.socket("gateway")).unwrap());
    assert!(fs::symlink_metadata(world.socket("gateway")).unwrap().file_type().is_socket());
    assert_eq!(world.start().await.stop().await, Exit::Clean);

    fs::write(folder.join("enrol-gateway.sock"), "a file").unwrap();
    assert_eq!(world.exit().await, Exit::Config);
    assert_eq!(fs::read(folder.join("enrol-gateway.sock")).unwrap(), b"a file");
}
