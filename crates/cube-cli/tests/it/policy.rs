//! `cube policy new`, `check`, `explain` and `diff`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use snp_evidence::Policy;

use crate::{
    gateway::{Behaviour, Gateway},
    tool::{Run, cube},
    world::{MEASUREMENT, world},
};

const STRICT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/policies/strict.toml");
const GENUINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/policies/cryptographic.toml");

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

async fn explained(file: &str) -> Value {
    let run = cube(&["policy", "explain", "--json", file]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.json()
}

fn rule<'a>(explained: &'a Value, id: &str) -> &'a Value {
    explained["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == id).unwrap()
}

#[tokio::test]
async fn a_new_policy_states_every_rule_and_refuses_what_nobody_stated() {
    let run = cube(&["policy", "new"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    parse(&run.stdout);
    let lines: Vec<_> = run.stdout.lines().collect();
    let rules = lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'));
    for (at, line) in rules.skip(1) {
        assert!(lines[at - 1].starts_with("# "), "{line} stands without a word");
    }
    for id in ["measurement", "host_data", "product.milan", "product.genoa", "product.turin"] {
        assert!(run.stderr.contains(&format!("\n  {id}: ")), "{id}: {}", run.stderr);
    }
}

#[tokio::test]
async fn what_is_stated_on_the_command_line_is_written() {
    let (measurement, host_data) = ("4d".repeat(48), "48".repeat(32));
    let args = ["policy", "new", "--product", "genoa,milan", "--measurement", &measurement];
    let more = ["--covers", "userspace", "--host-data", &host_data];
    let run = cube(&[&args[..], &more].concat()).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("filled in"), "{}", run.stderr);
    assert!(run.stderr.contains("product.milan stays a list"), "{}", run.stderr);
    let told = parse(&run.stdout).statements();
    let demand = |id: &str| told.iter().find(|rule| rule.id == id).unwrap().demand.clone();
    assert_eq!((demand("measurement"), demand("host_data")), (measurement.clone(), host_data.clone()));
    assert_eq!(
        (&*demand("product.genoa"), &*demand("product.turin")),
        ("any genuine genoa", "no turin, the list is empty")
    );
    assert!(demand("product.milan").starts_with("no milan"));

    let services = cube(&[&args[..], &more, &["--for", "services"]].concat()).await;
    let told = parse(&services.stdout).statements();
    for id in ["host_data", "instance.identity"] {
        assert!(told.iter().any(|rule| rule.id == id && rule.reason.is_some()), "{id}");
    }
}

#[tokio::test]
async fn wrong_usage_writes_nothing() {
    let measurement = "4d".repeat(48);
    for args in [
        &["new", "--measurement", &measurement] as &[&str],
        &["new", "--measurement", "4d", "--covers", "userspace"],
        &["new", "--product", "venice"],
        &["new", "--from-report", "absent"],
        &["new", "--from-report", "absent", "--certs", "absent", "--from", "https://localhost:1"],
        &["new", "--from-bundle", STRICT, "--nonce", &"0".repeat(64)],
        &["new", "--at", "2026-09-01T00:00:00Z"],
        &["new", "--timeout", "5"],
        &["check"],
        &["check", "absent.toml"],
        &["explain", env!("CARGO_MANIFEST_DIR")],
        &["diff", STRICT],
        &["diff", STRICT, "absent.toml"],
        &["import", STRICT],
        &["import", "--from", "other", STRICT],
    ] {
        let run = cube(&[&["policy"], args].concat()).await;
        assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
        assert!(args[0] == "check" || run.stdout.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn a_policy_is_written_once_and_then_checked_explained_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let file = file.to_str().unwrap();
    let run = cube(&["policy", "new", "-o", file]).await;
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let text = fs::read(file).unwrap();
    let again = cube(&["policy", "new", "-o", file]).await;
    assert!(again.code == 2 && again.stderr.contains("remove it first"), "{}", again.stderr);
    assert_eq!(fs::read(file).unwrap(), text);

    let check = cube(&["policy", "check", file]).await;
    assert_eq!(check.code, 0, "{}", check.stdout);
    let digest = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text));
    assert!(check.stdout.contains(&format!("policy_sha256 = \"{digest}\"")), "{}", check.stdout);
    assert!(check.stdout.contains("to fill in: measurement"), "{}", check.stdout);
    assert!(!check.stdout.contains('\x1b'), "colour only on terminals");
    assert_eq!(explained(file).await["sha256"], *digest);
    assert_eq!(cube(&["policy", "diff", file, file]).await.code, 0);
}

#[tokio::test]
async fn check_tells_all_problems_of_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    let text = fs::read_to_string(STRICT).unwrap();
    let line = text.lines().position(|line| line.starts_with("debug")).unwrap() + 1;
    let text = text.replace("debug = \"forbid\"", "debug = \"allow\"").replace("ordered = ", "order = ");
    fs::write(&bad, text).unwrap();
    let run = cube(&["policy", "check", "--json", bad.to_str().unwrap(), STRICT, "absent.toml"]).await;
    assert_eq!(run.code, 2, "{}", run.stdout);
    let json = run.json();
    let problems: Vec<_> =
        json[0]["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with(&format!("line {line}: guest_policy.debug: need")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.starts_with("tcb.ordered: missing")), "{problems:?}");
    assert!(json[0]["sha256"].is_null() && json[1]["sha256"].is_string());
    assert!(json[2]["problems"][0].as_str().unwrap().contains("cannot read absent.toml"));
    // The other commands show them line by line, too.
    let verify = cube(&["verify", "https://localhost:1", "--policy", bad.to_str().unwrap()]).await;
    assert!(verify.stderr.contains(&format!("\n  line {line}: ")), "{}", verify.stderr);
}

#[tokio::test]
async fn check_names_weak_spots() {
    let run = cube(&["policy", "check", STRICT]).await;
    assert_eq!(run.code, 0);
    for words in [
        "weak: measurement: software is not judged",
        "weak: instance.identity: nothing tells your instance from a genuine twin",
        "weak: product.milan: any Milan",
        "weak: report_version: version 2",
        "because of AMD-SB-3019 (UNCONFIRMED as of 2026-",
        "\n  vmpl: off: paravisors",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
}

#[tokio::test]
async fn explain_says_of_each_rule_what_it_does_and_why() {
    let json = explained(STRICT).await;
    let told = parse(&fs::read_to_string(STRICT).unwrap()).statements();
    assert_eq!(json["rules"].as_array().unwrap().len(), told.len());
    assert_eq!(rule(&json, "guest_policy.debug")["setting"], "required");
    assert!(rule(&json, "guest_policy.debug")["effect"].as_str().unwrap().starts_with("stops a host"));
    let off = rule(&json, "measurement");
    assert_eq!((off["setting"].as_str(), off["reason"].as_str()), (Some("off"), Some("names no deployment")));
    assert_eq!(off["effect"], "does not stop software other than yours");
    let advisory = &rule(&json, "tcb.reported")["advisories"][0];
    assert_eq!((advisory["id"].as_str(), &advisory["asked_for"]), (Some("AMD-SB-3019"), &Value::Bool(false)));
    assert!(advisory["confirmed"].is_null() && advisory["as_of"].is_string());
    let text = cube(&["policy", "explain", STRICT]).await.stdout;
    for words in
        ["always    structure", "What stays unproven:", "AMD-SB-3015, CVE-2024-21944, UNCONFIRMED as of"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn diff_says_what_became_stricter_and_what_looser() {
    let run = cube(&["policy", "diff", GENUINE, STRICT]).await;
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stdout.contains("stricter  guest_policy.debug\n          A: off: "), "{}", run.stdout);
    let json = cube(&["policy", "diff", "--json", STRICT, GENUINE]).await.json();
    let changes = json["changes"].as_array().unwrap();
    let debug = changes.iter().find(|change| change["id"] == "guest_policy.debug").unwrap();
    assert_eq!(
        (debug["direction"].as_str(), debug["a"]["demand"].as_str()),
        (Some("looser"), Some("forbid"))
    );
    assert!(changes.iter().all(|change| change["direction"] == "looser" || change["direction"] == "reason"));
}

fn evidence() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence");
    if !folder.is_dir() {
        println!("skipped: ../shared is absent");
        return None;
    }
    Some(folder)
}

async fn new_from(folder: &Path, at: &str, out: &str) -> Run {
    let (report, certs) = (folder.join("report.bin"), folder.to_str().unwrap());
    let args = ["policy", "new", "--from-report", report.to_str().unwrap(), "--certs", certs];
    cube(&[&args[..], &["--at", at, "--out", out]].concat()).await
}

#[tokio::test]
async fn evidence_meets_the_policy_that_is_made_of_it() {
    let Some(shared) = evidence() else { return };
    let out = tempfile::tempdir().unwrap();
    let mut met = 0;
    for entry in fs::read_dir(shared).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(notes) = fs::read(folder.join("notes.json")) else { continue };
        let notes: Value = serde_json::from_slice(&notes).unwrap();
        let accepted = notes["expected_verdict"]["strict_policy"] == "accept";
        if !accepted || !folder.join("report.bin").exists() {
            continue;
        }
        let id = folder.file_name().unwrap().to_str().unwrap();
        let (at, policy) = (notes["verify_at"].as_str().unwrap(), out.path().join(id));
        let policy = policy.to_str().unwrap();
        let new = new_from(&folder, at, policy).await;
        assert_eq!((new.code, new.stdout.as_str()), (0, ""), "{id}: {}", new.stderr);
        assert!(
            !new.stderr.contains("does not meet") && !new.stderr.contains("filled in"),
            "{id}: {}",
            new.stderr
        );
        let (report, certs) = (folder.join("report.bin"), folder.to_str().unwrap());
        let verify = ["verify", "--report", report.to_str().unwrap(), "--certs", certs, "--at", at];
        let verify = cube(&[&verify[..], &["--json", "--policy", policy]].concat()).await;
        assert_eq!(verify.code, 16, "{id}: {}", verify.stdout);
        let json = explained(policy).await;
        assert!(rule(&json, "measurement")["demand"].as_str().unwrap().contains("kernel only"), "{id}");
        met += 1;
    }
    assert!(met >= 15, "{met}");
}

#[tokio::test]
async fn nothing_is_loosened_for_the_sake_of_evidence() {
    let Some(shared) = evidence() else { return };
    let out = tempfile::tempdir().unwrap();
    let policy = out.path().join("policy.toml");
    let at = "2026-09-01T00:00:00Z";
    let run = new_from(&shared.join("milan-v2-vcek-debug-policy"), at, policy.to_str().unwrap()).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("\n  guest_policy.debug: observed allowed"), "{}", run.stderr);
    assert!(fs::read_to_string(&policy).unwrap().contains("\ndebug = \"forbid\"\n"));
}

#[tokio::test]
async fn forged_evidence_makes_no_policy() {
    let Some(shared) = evidence() else { return };
    let out = tempfile::tempdir().unwrap();
    for (id, code) in [("neg-genoa-signature-byte-flipped", 10), ("genoa-v5-parse-only-tinfoil", 12)] {
        let policy = out.path().join(id);
        let run = new_from(&shared.join(id), "2026-09-01T00:00:00Z", policy.to_str().unwrap()).await;
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
        assert!(!policy.exists());
    }
}

#[tokio::test]
async fn a_live_gateway_meets_the_policy_that_is_made_of_it() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let (url, out) = (gateway.url(), tempfile::tempdir().unwrap());
    let file = out.path().join("policy.toml");
    let (file, simulated) = (file.to_str().unwrap(), ["--allow-simulated", world().root_file()]);
    let refused = cube(&["policy", "new", "--from", &url, "--out", file]).await;
    assert_eq!(refused.code, 14, "{}", refused.stderr);
    assert!(!Path::new(file).exists());
    let new = cube(&[&["policy", "new", "--from", &url, "--out", file], &simulated[..]].concat()).await;
    assert_eq!(new.code, 0, "{}", new.stderr);
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("SIMULATED HARDWARE") && text.contains(&hex::encode(MEASUREMENT)), "{text}");
    let verify = cube(&[&["verify", &url, "--policy", file], &simulated[..]].concat()).await;
    assert_eq!(verify.code, 0, "{}", verify.stdout);

    let lying = Gateway::behaving(Behaviour::OtherNonce).await;
    let run = cube(&[&["policy", "new", "--from", &lying.url()], &simulated[..]].concat()).await;
    assert_eq!((run.code, run.stdout.as_str()), (13, ""), "{}", run.stderr);
}

#[tokio::test]
async fn a_saved_bundle_meets_the_policy_that_is_made_of_it() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let out = tempfile::tempdir().unwrap();
    let (bundle, policy) = (out.path().join("bundle.json"), out.path().join("policy.toml"));
    let (bundle, policy) = (bundle.to_str().unwrap(), policy.to_str().unwrap());
    let saved = cube(&["report", &gateway.url(), "-o", bundle]).await.stdout;
    let own: Vec<_> = saved.split_whitespace().skip(4).collect();
    let simulated = ["--allow-simulated", world().root_file()];
    let new = ["policy", "new", "--from-bundle", bundle, "--out", policy];
    let new = cube(&[&new[..], &own, &simulated].concat()).await;
    assert_eq!(new.code, 0, "{}", new.stderr);
    let verify =
        cube(&[&["verify", "--bundle", bundle, "--policy", policy], &own[..], &simulated].concat()).await;
    assert_eq!(verify.code, 0, "{}", verify.stdout);
}
