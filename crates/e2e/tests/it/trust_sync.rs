//! The CAs of two CVMs, by `cube trust-sync`.

use std::{fs, path::Path, process::Command};

use crate::rig::{Rig, policy_for_both, program};

fn sync(rigs: [&Rig; 2], policy: &Path, out: &Path) -> (i32, String) {
    let mut cube = Command::new(program("cube"));
    cube.arg("trust-sync").args(rigs.iter().map(|rig| &rig.url)).arg("--policy").arg(policy);
    cube.arg("--allow-simulated").arg(rigs[0].files().root()).arg("--out").arg(out);
    let output = cube.args(["--config-map", "mesh/cube-trust"]).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cas_of_verified_machines_are_one_bundle() {
    let (mut a, mut b) = (Rig::serving("openai").await, Rig::serving("openai").await);
    let folder = tempfile::tempdir().unwrap();
    let (policy, out) = (folder.path().join("policy.toml"), folder.path().join("trust"));
    fs::write(&policy, policy_for_both([&a, &b])).unwrap();
    let cas = [fs::read_to_string(a.trusted_ca()).unwrap(), fs::read_to_string(b.trusted_ca()).unwrap()];
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();

    let (code, told) = a.blocking(|a| sync([a, &b], &policy, &out));
    assert_eq!(code, 0, "{told}");
    let bundle: serde_json::Value = serde_json::from_str(&read("bundle.json")).unwrap();
    let keys = bundle["keys"].as_array().unwrap();
    assert!(keys.len() == 2 && keys.iter().all(|key| key["use"] == "x509-svid" && key["crv"] == "P-384"));
    assert!(cas.iter().all(|ca| read("bundle.pem").contains(ca)));
    let map = read("configmap.yaml");
    assert!(map.contains("  namespace: mesh\n") && map.contains("  bundle.pem: |\n    -----BEGIN"), "{map}");

    let (code, told) = a.blocking(|a| sync([a, &b], &policy, &out));
    assert!(code == 0 && told.contains("nothing is written"), "{told}");
    // The machine that the policy does not name any more is left out, and said to be.
    let own = a.files().client_policy();
    let (code, told) = a.blocking(|a| sync([a, &b], &own, &out));
    assert!(code == 11 && told.contains("left out"), "{code} {told}");
    assert!(read("bundle.pem").contains(&cas[0]) && !read("bundle.pem").contains(&cas[1]));
}
