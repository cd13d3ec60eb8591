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
    match Config::load(&args.config) {
        Ok(config) if args.check_config => match config.check_policy_digest() {
            Ok(()) => say(std::io::stdout(), config.summary(), Exit::Clean).into(),
            Err(mismatch) => say(std::io::stderr(), mismatch, Exit::Policy).into(),
        },
        Ok(config) => block_on(|shutdown| start(config, shutdown)),
        Err(error) => say(std::io::stderr(), error, Exit::Config).into(),
    }
}

async fn start(config: Config, shutdown: CancellationToken) -> Exit {
    if let Err(error) = init_logs(&config.log_level) {
        return say(std::io::stderr(), error, Exit::Config);
    }
    if let Err(error) = harden() {
        return say(
            std::io::stderr(),
            format!("memory cannot be kept out of core files: {error}"),
            Exit::Config,
        );
    }
    let platform = match snp_platform::detect() {
        Ok(platform) => platform,
        Err(error) => return say(std::io::stderr(), error, Exit::NoTee),
    };
    match TcpListener::bind(config.listen).await {
        Ok(listener) => {
            run(config, platform, TrustRoots::amd(), listener, Arc::new(SystemClock), shutdown).await
        }
        Err(error) => say(std::io::stderr(), format!("listen: {}: {error}", config.listen), Exit::Config),
    }
}

fn say(mut to: impl Write, what: impl Display, exit: Exit) -> Exit {
    // With nobody to read it, the exit code still tells.
    drop(writeln!(to, "{what}"));
    exit
}
