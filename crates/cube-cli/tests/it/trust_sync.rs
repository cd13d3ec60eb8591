//! `cube trust-sync`, where nothing is to be trusted; `crates/e2e` has the rest.

use crate::{
    gateway::{Behaviour, Gateway},
    tool::cube,
    world::world,
};

#[tokio::test]
async fn without_a_verified_ca_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("trust");
    for (behaviour, code, why) in
        [(Behaviour::OtherNonce, 13, "left out"), (Behaviour::Honest, 1, "shows no CA of its own")]
    {
        let gateway = Gateway::behaving(behaviour).await;
        let (url, out, world) = (gateway.url(), out.to_str().unwrap(), world());
        let (policy, root) = (world.policy_file(), world.root_file());
        let run =
            cube(&["trust-sync", &url, "--policy", policy, "--allow-simulated", root, "--out", out]).await;
        assert!(run.code == code && run.stderr.contains(why), "{} {}", run.code, run.stderr);
        assert!(run.stderr.contains("nothing is written") && !folder.path().join("trust").exists());
    }
}

#[tokio::test]
async fn a_config_map_has_a_name_that_kubernetes_takes() {
    for name in ["No", "a/b/c", "/a", "a/", "-a", "a_b"] {
        let name = format!("--config-map={name}");
        let run = cube(&["trust-sync", "https://localhost:1", "--policy", "p", "--out", "o", &name]).await;
        assert!(run.code == 2 && run.stderr.contains("NAMESPACE"), "{name}: {}", run.stderr);
    }
}
