//! The shipped binary and `run`, as an operator meets them. How the model server is driven is tested
//! in `src/generate/tests.rs`, because only the crate itself can reach one without an attachment;
//! the whole path over mTLS in `crates/e2e`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use backend_adapter::{Config, run};
use service_runtime::{CancellationToken, Exit, SystemClock};
use snp_evidence::{Policy, TrustRoots};

const POLICY: &str = include_str!("../../../conformance/policies/strict.toml");

/// A whole set of files; gives the operational one.
fn files(folder: &Path, address: &str) -> PathBuf {
    let digest = hex::encode(Policy::parse(POLICY.as_bytes()).unwrap().sha256());
    let uid = nix::unistd::geteuid();
    let measured = format!(
        "trust_domain = \"demo.cube.internal\"\ntenant = \"demo\"\npolicy_sha256 = \"{digest}\"\n\
         [identity.gateway]\nuid = 1\n[identity.adapter]\nuid = 2\n\
         [backend]\nkind = \"openai\"\naddress = \"{address}\"\nuid = {uid}\n[public]\nnames = [\"localhost\"]\n",
    );
    let adapter = "measured = \"measured.toml\"\npolicy = \"policy.toml\"\nrun_dir = \"run\"\n\
        listen = \"127.0.0.1:0\"\nstart_timeout_seconds = 1\n";
    for (name, text) in
        [("measured.toml", measured.as_str()), ("policy.toml", POLICY), ("adapter.toml", adapter)]
    {
        fs::write(folder.join(name), text).unwrap();
    }
    folder.join("adapter.toml")
}

fn adapter(config: &Path, more: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_backend-adapter");
    Command::new(program).arg("--config").arg(config).args(more).output().unwrap()
}

#[test]
fn check_config_says_what_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let output = adapter(&files(folder.path(), "http://127.0.0.1:8080"), &["--check-config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("the HOST_DATA to expect"), "{text}");
}

#[test]
fn a_backend_that_is_not_on_this_machine_is_a_config_error() {
    for address in ["http://10.0.0.1:8080", "https://api.example.com", "unix:relative"] {
        let folder = tempfile::tempdir().unwrap();
        let output = adapter(&files(folder.path(), address), &["--check-config"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("backend.address"), "{text}");
    }
}

#[test]
fn another_policy_than_the_measured_one_is_refused_by_policy() {
    let folder = tempfile::tempdir().unwrap();
    let config = files(folder.path(), "http://127.0.0.1:8080");
    fs::write(folder.path().join("policy.toml"), format!("{POLICY}\n# another\n")).unwrap();
    for more in [&["--check-config"][..], &[]] {
        let output = adapter(&config, more);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{text}");
        assert!(
            text.starts_with("backend-adapter: ") && text.contains("check policy.digest failed"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn without_a_lease_the_port_is_never_bound() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::load(&files(folder.path(), "http://127.0.0.1:8080")).unwrap();
    let bound = AtomicBool::new(false);
    let bind = async || {
        bound.store(true, Ordering::SeqCst);
        Err(io::Error::other("must not be asked"))
    };
    let exit = run(config, TrustRoots::amd(), bind, Arc::new(SystemClock), CancellationToken::new()).await;
    assert_eq!((exit, bound.load(Ordering::SeqCst)), (Exit::NoLease, false));
}
