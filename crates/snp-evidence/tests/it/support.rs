//! Ways to come by evidence and policies.

use std::{fs, path::PathBuf};

use serde_json::Value;
use snp_evidence::{Endorsements, Evidence, EvidenceFormat, Policy, UnixTime, Vek};
use x509_parser::pem::Pem;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of captured evidence, if it lies beside the workspace.
pub(crate) fn captured() -> Option<PathBuf> {
    let folder = root().join("../shared/evidence");
    if !folder.join("index.json").exists() {
        println!("skipped: ../shared is absent");
        return None;
    }
    Some(folder)
}

/// The day the evidence was gathered; the clock for what could not be judged on any day.
pub(crate) const REFERENCE: &str = "2026-11-23T00:00:00Z";

/// A captured report's verdicts as its publisher recorded them.
pub(crate) struct Recorded {
    pub(crate) id: String,
    pub(crate) cryptographic: String,
    pub(crate) strict: String,
    pub(crate) strict_today: String,
    pub(crate) verify_at: UnixTime,
}

pub(crate) fn recorded() -> Option<Vec<Recorded>> {
    let folder = captured()?;
    let json = |path: PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let index = json(folder.join("index.json"));
    let reports =
        index["vectors"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "sev-snp-report");
    let read = |entry: &Value| {
        let id = entry["id"].as_str().unwrap().to_owned();
        let notes = json(folder.join(&id).join("notes.json"));
        let verdict = |key: &str| notes["expected_verdict"][key].as_str().unwrap_or("reject").to_owned();
        Recorded {
            cryptographic: verdict("cryptographic"),
            strict: verdict("strict_policy"),
            strict_today: verdict("strict_policy_at_2026_11_23"),
            verify_at: at(notes["verify_at"].as_str().unwrap_or(REFERENCE)),
            id,
        }
    };
    Some(reports.map(read).collect())
}

/// One captured report with what lies beside it.
pub(crate) fn load(folder: &std::path::Path) -> Evidence {
    let file = |name: &str| fs::read(folder.join(name)).ok();
    let pem =
        |name: &str| file(name).map(|pem| Pem::iter_from_buffer(&pem).next().unwrap().unwrap().contents);
    Evidence {
        format: EvidenceFormat::AmdSevSnp,
        report: file("report.bin").unwrap(),
        endorsements: Endorsements {
            vek: file("vcek.der").map(Vek::Vcek).or_else(|| file("vlek.der").map(Vek::Vlek)),
            ask: pem("ask.pem"),
            asvk: pem("asvk.pem"),
            ark: pem("ark.pem"),
            crl: None,
        },
    }
}

pub(crate) fn policy(name: &str) -> Policy {
    Policy::parse(policy_text(name).as_bytes()).unwrap_or_else(|errors| panic!("{name}: {errors}"))
}

pub(crate) fn policy_text(name: &str) -> String {
    fs::read_to_string(root().join("conformance/policies").join(name)).unwrap()
}

/// A policy with some rules replaced: each edit is a whole line's beginning and its new text.
pub(crate) fn edited(name: &str, edits: &[(&str, &str)]) -> Policy {
    let mut text = policy_text(name);
    for (rule, value) in edits {
        let line = text.lines().find(|line| line.starts_with(&format!("{rule} = "))).unwrap().to_owned();
        text = text.replace(&line, &format!("{rule} = {value}"));
    }
    Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

pub(crate) fn at(text: &str) -> UnixTime {
    UnixTime::parse_rfc3339(text).unwrap()
}
