//! Is every check of Azure's own needed? `cargo xtask conformance mutants`.
//!
//! As `mutants` of `snp-evidence`, for the checks around its report and for `report_data`, which
//! Azure's runtime data are bound by.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "shared with the tests")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "../../snp-evidence/examples/common/conformance.rs"]
mod conformance;
#[path = "../tests/it/forgeries.rs"]
mod forgeries;
#[path = "../../snp-evidence/examples/common/proofs.rs"]
mod proofs;
#[path = "../tests/it/world.rs"]
mod world;

use std::{env, error::Error, path::Path, process::ExitCode};

use proofs::Proofs;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(file) = env::args().nth(1) else {
        return Err("usage: azure-mutants FILE; `cargo xtask conformance mutants` gives it".into());
    };
    let mut proofs = Proofs::default();
    for (number, (_, forge)) in forgeries::FORGERIES.iter().chain(forgeries::BROKEN).enumerate() {
        let mut case = world::Case::new();
        forge(&mut case);
        if let Err(refusal) = case.judge() {
            proofs.record(&format!("fixture:azure-forgery-{number}"), refusal.checks());
        }
    }
    let accepted = world::Case::new().judge().map_err(|refusal| refusal.to_string())?;
    let ours = |id: &str| id.starts_with("azure.") || id == "report_data";
    let checks: Vec<_> = accepted.checks().iter().filter(|check| ours(check.id)).collect();
    Ok(proofs.write(&checks, None, Path::new(&file))?)
}
