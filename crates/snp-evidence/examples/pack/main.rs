//! Makes the conformance pack: `cargo xtask conformance verifiers`; its form is in conformance/README.md.
//!
//! Everything is signed anew by a simulated processor whose keys are then thrown away, so that no verifier can be
//! fitted to it. What a case expects is what its forger said, and is held against our own verdict here.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "shared with the tests")]

mod flips;
#[path = "../../tests/it/forgeries.rs"]
mod forgeries;
#[expect(dead_code, clippy::print_stdout, reason = "shared with the tests")]
#[path = "../../tests/it/support.rs"]
mod support;
mod valid;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../../tests/it/world.rs"]
mod world;

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use serde_json::{Value, json};
use snp_evidence::{B64, B64Url, Challenge, Policy, RefusalClass, TrustRoots, UnixTime, appraise};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = env::args().nth(1) else {
        return Err("usage: pack FOLDER; `cargo xtask conformance verifiers` gives it".into());
    };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let cases = valid::cases().chain(malformed()).chain(forged()).chain(tokens());
    write(&folder.join("cases.jsonl"), cases)?;
    write(&folder.join("flips.jsonl"), flips::sampled())
}

fn write(file: &Path, cases: impl Iterator<Item = Value>) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(File::create(file)?);
    for case in cases {
        writeln!(out, "{case}")?;
    }
    Ok(out.flush()?)
}

/// A bundle, and all that a verifier brings along.
struct Question {
    bundle: Vec<u8>,
    challenge: Challenge,
    roots: TrustRoots,
    policy: String,
    now: UnixTime,
}

impl Question {
    fn of(case: world::Case) -> Self {
        let bundle = case.bundle();
        let world::Case { expected, roots, policy, now, .. } = case;
        Self { bundle, challenge: expected, roots, policy, now }
    }

    /// The id of the first check that failed, and its class.
    fn judge(&self) -> Result<(), (&'static str, RefusalClass)> {
        let policy = Policy::parse(self.policy.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        appraise(&self.bundle, &self.roots, &policy, &self.challenge, self.now)
            .map(drop)
            .map_err(|refusal| (refusal.reason(), refusal.class()))
    }

    fn to_json(&self) -> Value {
        let Challenge { purpose, nonce, binder } = &self.challenge;
        let (format, pem) = if self.roots.is_simulated() {
            ("simulated-amd-sev-snp-report", world::ROOT.root_pem())
        } else {
            ("amd-sev-snp-report", String::new())
        };
        json!({
            "bundle": B64(self.bundle.clone()),
            "roots": { "format": format, "pem": pem },
            "policy": self.policy,
            "now": self.now.0,
            "challenge": {
                "purpose": purpose,
                "nonce": B64Url(*nonce),
                "binding": {
                    "type": binder.kind,
                    "role": binder.role,
                    "leaf_spki_sha256": B64Url(binder.leaf_spki_sha256),
                    "exporter": binder.exporter.map(B64Url),
                    "listener": binder.listener,
                },
            },
        })
    }

    /// A line of the pack; `expected` is the reason of the refusal that has to come.
    fn case(&self, id: &str, expected: Option<(&str, RefusalClass)>) -> Value {
        assert_eq!(self.judge().err(), expected, "{id}");
        let (verdict, exit) = match expected {
            None => ("trusted", 0),
            Some((_, RefusalClass::Malformed | RefusalClass::Untrusted)) => ("refused", 10),
            Some((_, RefusalClass::OutOfPolicy)) => ("refused", 11),
            Some((_, RefusalClass::Stale | RefusalClass::Unavailable)) => ("unavailable", 12),
            Some((_, RefusalClass::Channel)) => ("refused", 13),
        };
        let reason = expected.map(|(reason, _)| reason);
        json!({ "id": id, "input": self.to_json(), "verdict": verdict, "reason": reason, "exit": exit })
    }
}

fn forged() -> impl Iterator<Item = Value> {
    forgeries::all().enumerate().map(|(number, (reason, class, forge))| {
        let mut case = world::Case::new();
        forge(&mut case);
        Question::of(case).case(&format!("forged/{number}-{reason}"), Some((*reason, *class)))
    })
}

/// The published vectors of what is no bundle.
fn malformed() -> impl Iterator<Item = Value> {
    let invalid = vectors("bundle.json")["invalid"].as_array().unwrap().clone();
    invalid.into_iter().enumerate().map(|(number, invalid)| {
        let bundle = invalid["bundle"].as_str().unwrap().as_bytes().to_vec();
        let question = Question { bundle, ..Question::of(world::Case::new()) };
        question.case(&format!("malformed/{number}"), Some(("bundle.structure", RefusalClass::Malformed)))
    })
}

fn vectors(name: &str) -> Value {
    let file = support::root().join("docs/spec/vectors").join(name);
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The published vectors of health tokens.
fn tokens() -> impl Iterator<Item = Value> {
    let vectors = vectors("health-token.json");
    let expected = vectors["expected"].clone();
    let cases = vectors["cases"].as_array().unwrap().clone();
    cases.into_iter().map(move |case| {
        let accepted = case["result"] == "accepted";
        json!({
            "id": format!("token/{}", case["id"].as_str().unwrap()),
            "input": { "token": case["token"], "expected": expected },
            "verdict": if accepted { "trusted" } else { "refused" },
            "reason": (!accepted).then(|| case["result"].clone()),
            "exit": if accepted { 0 } else { 10 },
        })
    })
}
