//! Arguments of the three mains, beside those of the shipped ones.

use std::{fs, path::PathBuf};

use clap::Args;
use snp_evidence::TrustRoots;

/// Of the simulated gateway and adapter.
#[derive(Debug, Args)]
pub struct RootArgs {
    /// ARK, ASK and ASVK of the simulated machine, as PEM.
    #[arg(long, value_name = "FILE")]
    pub simulated_root: PathBuf,
}

/// Of the simulated attestation-svc.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// The root.
    #[command(flatten)]
    pub root: RootArgs,
    /// The simulated machine.
    #[arg(long, value_name = "FILE")]
    pub machine: PathBuf,
    /// The simulated guest.
    #[arg(long, value_name = "FILE")]
    pub guest: PathBuf,
}

/// Trust in the simulated machine, and in nothing else.
pub fn load_roots(args: &RootArgs) -> Result<TrustRoots, String> {
    let path = args.simulated_root.display();
    let pem = fs::read(&args.simulated_root).map_err(|error| format!("{path}: {error}"))?;
    TrustRoots::simulated(&pem).map_err(|error| format!("{path}: {error}"))
}
