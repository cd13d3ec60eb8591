//! Is every check needed? `cargo xtask conformance mutants`.
//!
//! For each check: evidence that a verifier without it would accept. No such verifier exists, in any build. A verdict is
//! the conjunction of its outcomes, so that it shows by itself what would become of it without one of them: where one
//! check alone objects, and whatever else failed was not judged for its sake, taking that one away leaves acceptance.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "shared with the tests")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "common/conformance.rs"]
mod conformance;
#[path = "../tests/it/forgeries.rs"]
mod forgeries;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/support.rs"]
mod support;
#[path = "../tests/it/world.rs"]
mod world;

use std::{collections::BTreeMap, env, error::Error, path::Path, process::ExitCode};

use snp_evidence::{CheckOutcome, Refusal, TrustRoots, examine, only_objection};

use conformance::Case;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(file) = env::args().nth(1) else {
        return Err("usage: mutants FILE; `cargo xtask conformance mutants` gives it".into());
    };
    let mut proofs = BTreeMap::new();
    forged(&mut proofs);
    let real = captured(&mut proofs);
    let accepted = world::Case::new().judge().map_err(|refusal| refusal.to_string())?;
    let cases: Vec<_> =
        accepted.checks().iter().flat_map(|check| judge(check, &proofs)).chain(real).collect();
    let passed = conformance::write("mutants", &cases, Path::new(&file))?;
    let missing = cases.iter().filter(|case| case.passed == Some(false)).count();
    println!("{} checks, {missing} of them without such evidence", accepted.checks().len());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// By check: what a verifier without it would accept, and how many checks count as failed for its sake.
type Proofs = BTreeMap<&'static str, Vec<Proof>>;

struct Proof {
    evidence: String,
    unjudged: usize,
}

fn record(proofs: &mut Proofs, evidence: &str, refusal: &Refusal) {
    if let Some(check) = only_objection(refusal.checks()) {
        let unjudged = refusal.checks().iter().filter(|other| other.unjudged.is_some());
        let proof = Proof { evidence: evidence.to_owned(), unjudged: unjudged.count() };
        proofs.entry(check.id).or_default().push(proof);
    }
}

/// Forgeries that the simulator's processor and authorities signed.
fn forged(proofs: &mut Proofs) {
    for (number, (_, _, forge)) in forgeries::all().enumerate() {
        let mut case = world::Case::new();
        forge(&mut case);
        if let Err(refusal) = case.judge() {
            record(proofs, &format!("fixture:forgery-{number}"), &refusal);
        }
    }
}

/// Captured reports and published forgeries; a skipped case where they are absent.
fn captured(proofs: &mut Proofs) -> Option<Case> {
    let (Some(folder), Some(all)) = (support::captured(), support::recorded()) else {
        let why = "../shared/evidence is absent".to_owned();
        return Some(Case { id: "real:all".to_owned(), passed: None, why });
    };
    let roots = TrustRoots::amd();
    for entry in all {
        let evidence = support::load(&folder.join(&entry.id));
        for policy in ["cryptographic", "strict"] {
            let rules = support::policy(&format!("{policy}.toml"));
            if let Err(refusal) = examine(&evidence, &roots, &rules, entry.verify_at) {
                record(proofs, &format!("real:{} under {policy}", entry.id), &refusal);
            }
        }
    }
    None
}

fn judge(check: &CheckOutcome, proofs: &Proofs) -> Vec<Case> {
    let found = proofs.get(check.id).map_or(&[][..], Vec::as_slice);
    let of = |kind: &str| found.iter().filter(|proof| proof.evidence.starts_with(kind)).count();
    let unjudged = found.iter().map(|proof| proof.unjudged).max().unwrap_or(0);
    let (fixtures, real) = (of("fixture:"), of("real:"));
    println!("{:30} {fixtures:3} forgeries {real:3} real, {unjudged:3} checks fail for its sake", check.id);
    if found.is_empty() {
        let why = "nothing is refused by this check alone".to_owned();
        return vec![Case { id: format!("fixture:{}", check.id), passed: Some(false), why }];
    }
    let case = |proof: &Proof| {
        let (kind, name) = proof.evidence.split_once(':').unwrap();
        let why = format!("{name}: {} objects, and nothing else", check.id);
        Case { id: format!("{kind}:{}:{name}", check.id), passed: Some(true), why }
    };
    found.iter().map(case).collect()
}
