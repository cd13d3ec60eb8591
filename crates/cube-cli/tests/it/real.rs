//! Stored reports of real machines, and what is no evidence at all.

use crate::{
    shared::{evidence, policy},
    tool::{Run, cube},
};

/// The date at which the evidence index states its verdicts.
const AT: &str = "2026-09-01T00:00:00Z";

async fn verify(id: &str, more: &[&str]) -> Option<Run> {
    let folder = evidence(id)?;
    let (report, certs) = (folder.join("report.bin"), folder.clone());
    let mut args = vec!["verify", "--report", report.to_str()?, "--certs", certs.to_str()?, "--at", AT];
    args.extend(more);
    Some(cube(&args).await)
}

async fn verify_under(id: &str, name: &str) -> Option<Run> {
    verify(id, &["--json", "--policy", &policy(name)]).await
}

#[tokio::test]
async fn a_genuine_report_is_genuine_and_no_more() {
    for id in ["genoa-v3-vcek-tinfoil", "milan-v2-vcek-aci", "turin-v5-vcek-oak"] {
        let Some(run) = verify_under(id, "cryptographic.toml").await else { return };
        assert_eq!((run.code, run.verdict().as_str()), (16, "genuine"), "{id}: {}", run.stdout);
        let json = run.json();
        assert_eq!(json["scope"], "report");
        assert_eq!(json["report"]["measurement"].as_str().unwrap().len(), 96);
        let check = &json["checks"][0];
        for member in ["id", "result", "observed", "expected", "source", "fix"] {
            assert!(check[member].is_string(), "{member}");
        }
    }
}

#[tokio::test]
async fn tampered_evidence_is_refused() {
    for id in [
        "neg-genoa-signature-byte-flipped",
        "neg-vcek-signature-tampered",
        "neg-fake-root-baseline",
        "neg-milan-chip-mismatch",
    ] {
        let Some(run) = verify_under(id, "cryptographic.toml").await else { return };
        assert_eq!((run.code, run.verdict().as_str()), (10, "refused"), "{id}: {}", run.stdout);
        assert!(!run.reason().is_empty());
    }
}

#[tokio::test]
async fn a_policy_that_forbids_debugging_refuses_a_guest_that_allows_it() {
    let Some(run) = verify_under("milan-v2-vcek-debug-policy", "strict.toml").await else { return };
    assert_eq!((run.code, run.reason().as_str()), (11, "guest_policy.debug"), "{}", run.stdout);
}

#[tokio::test]
async fn a_report_without_its_certificate_is_unavailable() {
    let Some(run) = verify_under("genoa-v5-parse-only-tinfoil", "cryptographic.toml").await else { return };
    assert_eq!((run.code, run.verdict().as_str()), (12, "unavailable"), "{}", run.stdout);
}

#[tokio::test]
async fn without_a_policy_nothing_is_trusted_but_everything_is_shown() {
    let Some(run) = verify("genoa-v3-vcek-tinfoil", &["--json"]).await else { return };
    assert_eq!((run.code, run.reason().as_str()), (11, "policy.absent"), "{}", run.stdout);
    assert!(run.json()["report"]["measurement"].as_str().unwrap().starts_with("2dedaee1"), "{}", run.stdout);
}

#[tokio::test]
async fn without_a_policy_tampered_evidence_is_still_tampered() {
    let Some(run) = verify("neg-genoa-signature-byte-flipped", &["--json"]).await else { return };
    assert_eq!(run.code, 10, "{}", run.stdout);
}

#[tokio::test]
async fn real_hardware_is_refused_where_simulated_hardware_is_allowed() {
    let simulated = crate::world::world();
    let policy = policy("cryptographic.toml");
    let more = ["--json", "--allow-simulated", simulated.root_file(), "--policy", &policy];
    let Some(run) = verify("genoa-v3-vcek-tinfoil", &more).await else { return };
    assert_eq!((run.code, run.verdict().as_str()), (10, "refused"), "{}", run.stdout);
}

#[tokio::test]
async fn the_table_abbreviates_and_names_the_fix() {
    let Some(run) = verify("neg-genoa-signature-byte-flipped", &[]).await else { return };
    assert!(run.stdout.contains("FAIL") && run.stdout.contains("fix: "), "{}", run.stdout);
    assert!(run.stdout.contains("verdict: refused, because of "), "{}", run.stdout);
    assert!(run.stdout.contains("\n--  "), "what the signature leaves unjudged: {}", run.stdout);
    assert!(!run.stdout.contains('\x1b'), "colour only on terminals");
    let long_hex = |word: &str| word.len() > 40 && word.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(!run.stdout.split_whitespace().any(long_hex), "{}", run.stdout);
}

#[tokio::test]
async fn wrong_usage_is_told_apart_from_every_verdict() {
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for args in [
        &["verify"] as &[&str],
        &["verify", "http://localhost:1"],
        &["verify", "https://localhost:1", "--bundle", "x", "--nonce", &"0".repeat(64)],
        &["verify", "--bundle", "absent.json", "--nonce", &"0".repeat(64), "--spki", &"0".repeat(64)],
        &["verify", "--report", "absent.bin", "--certs", "absent"],
        &["verify", "https://localhost:1", "--policy", policy],
        &["verify", "https://localhost:1", "--at", "yesterday"],
        &["verify", "https://localhost:1", "--binding", "none"],
        &["verify", "https://localhost:1", "--allow-simulated", policy],
        &["verify", "https://localhost:1", "--ca", policy],
        &["verify", "--report", "absent.bin", "--certs", "absent", "--ca", policy],
        &["report", "https://localhost:1", "--nonce", "short"],
        &["chat", "https://localhost:1", "prompt"],
    ] {
        let run = cube(args).await;
        assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn each_mistake_of_a_policy_has_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let good = std::fs::read_to_string(policy("cryptographic.toml")).unwrap();
    std::fs::write(&file, format!("zz_one = 1\nzz_two = 2\n{good}")).unwrap();
    let run = cube(&["verify", "https://localhost:1", "--policy", file.to_str().unwrap()]).await;
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(!run.stderr.contains('\u{fffd}'), "{}", run.stderr);
    for mistake in ["zz_one", "zz_two"] {
        assert_eq!(run.stderr.lines().filter(|line| line.contains(mistake)).count(), 1, "{}", run.stderr);
    }
    assert!(
        !run.stderr.lines().any(|line| line.contains("zz_one") && line.contains("zz_two")),
        "{}",
        run.stderr
    );
}
