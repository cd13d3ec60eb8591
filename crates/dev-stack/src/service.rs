//! Arguments of the three mains.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use snp_evidence::TrustRoots;

/// Arguments of the simulated gateway and adapter.
#[derive(Debug, Parser)]
pub struct ServiceArgs {
    /// The service's configuration, as shipped.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// ARK, ASK and ASVK of the simulated machine, as PEM.
    #[arg(long, value_name = "FILE")]
    pub simulated_root: PathBuf,
}

/// Arguments of the simulated attestation-svc.
#[derive(Debug, Parser)]
pub struct AttestationArgs {
    /// Configuration and root.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The simulated machine.
    #[arg(long, value_name = "FILE")]
    pub machine: PathBuf,
    /// The simulated guest.
    #[arg(long, value_name = "FILE")]
    pub guest: PathBuf,
}

/// Trust in the simulated machine, and in nothing else.
pub fn load_roots(args: &ServiceArgs) -> Result<TrustRoots> {
    let path = &args.simulated_root;
    let pem = fs::read(path).with_context(|| path.display().to_string())?;
    TrustRoots::simulated(&pem).with_context(|| path.display().to_string())
}
