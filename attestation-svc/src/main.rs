//! `attestation-svc --config FILE [--check-config]`, on AMD's roots and the real device.

use std::{fmt::Display, io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use attestation_svc::{Config, run};
use clap::Parser;
use service_runtime::{CancellationToken, Exit, SystemClock, block_on, harden, init_logs};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;

#[derive(Parser)]
#[command(about = "Judges the evidence at boot; issues identities, health tokens and leases")]
struct Args {
    /// Configuration file (TOML).
    #[arg(long)]
    config: PathBuf,
    /// Print every problem of the configuration, or its digests, and stop.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    block_on(|shutdown| async { start(args, shutdown).await.unwrap_or_else(|exit| exit) })
}

async fn start(args: Args, shutdown: CancellationToken) -> Result<Exit, Exit> {
    let config = Config::load(&args.config).map_err(ends(Exit::Config))?;
    config.check_policy_digest().map_err(ends(Exit::Policy))?;
    if args.check_config {
        return Ok(writeln!(std::io::stdout(), "{}", config.summary()).map_or(Exit::Config, |()| Exit::Clean));
    }
    init_logs(&config.log_level).map_err(ends(Exit::Config))?;
    harden().map_err(ends(Exit::Config))?;
    let platform = snp_platform::detect().map_err(ends(Exit::NoTee))?;
    let listener = TcpListener::bind(config.listen).await.map_err(ends(Exit::Config))?;
    Ok(run(config, platform, TrustRoots::amd(), listener, Arc::new(SystemClock), shutdown).await)
}

fn ends<E: Display>(exit: Exit) -> impl FnOnce(E) -> Exit {
    // With nobody to read it, the exit code still tells.
    move |why| writeln!(std::io::stderr(), "attestation-svc: {why}").map_or(exit, |()| exit)
}
