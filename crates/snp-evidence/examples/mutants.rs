//! Is every check needed? `cargo xtask conformance mutants`.
//!
//! For each check: evidence that a verifier without it would accept; `common/proofs.rs` says how that is known.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "shared with the tests")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "common/conformance.rs"]
mod conformance;
#[path = "../tests/it/forgeries.rs"]
mod forgeries;
#[path = "common/proofs.rs"]
mod proofs;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/support.rs"]
mod support;
#[path = "../tests/it/world.rs"]
mod world;

use std::{env, error::Error, path::Path, process::ExitCode};

use snp_evidence::{TrustRoots, examine};

use conformance::Case;
use proofs::Proofs;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(file) = env::args().nth(1) else {
        return Err("usage: mutants FILE; `cargo xtask conformance mutants` gives it".into());
    };
    let mut proofs = Proofs::default();
    forged(&mut proofs);
    let absent = captured(&mut proofs);
    let accepted = world::Case::new().judge().map_err(|refusal| refusal.to_string())?;
    let checks: Vec<_> = accepted.checks().iter().collect();
    Ok(proofs.write(&checks, absent, Path::new(&file))?)
}

/// Forgeries that the simulator's processor and authorities signed.
fn forged(proofs: &mut Proofs) {
    for (number, (_, _, forge)) in forgeries::all().enumerate() {
        let mut case = world::Case::new();
        forge(&mut case);
        if let Err(refusal) = case.judge() {
            proofs.record(&format!("fixture:forgery-{number}"), refusal.checks());
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
                proofs.record(&format!("real:{} under {policy}", entry.id), refusal.checks());
            }
        }
    }
    None
}
