//! `attestation-svc` on simulated hardware: the shipped library, the simulator's chip and root.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use clap::Parser;
use dev_stack::{AttestationArgs, SimulatedPlatform, load_roots};
use service_runtime::{Exit, SystemClock, block_on, init_logs, refuse};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    start().unwrap_or_else(|error| refuse("attestation-svc", format!("{error:#}"), Exit::Config))
}

fn start() -> Result<ExitCode> {
    let args = AttestationArgs::parse();
    let config = match attestation_svc::Config::load(&args.service.config) {
        Ok(config) => config,
        Err(error) => return Ok(refuse("attestation-svc", &error, error.exit())),
    };
    let roots = load_roots(&args.service)?;
    let platform = Box::new(SimulatedPlatform::load(&args.machine, &args.guest)?);
    init_logs(&config.log_level).map_err(anyhow::Error::msg)?;
    // Bound before the runtime, so that a taken port is an error like any other.
    let listener = std::net::TcpListener::bind(config.listen).context(config.listen)?;
    listener.set_nonblocking(true)?;
    Ok(block_on(async |shutdown| match TcpListener::from_std(listener) {
        Ok(listener) => {
            attestation_svc::run(config, platform, roots, listener, Arc::new(SystemClock), shutdown).await
        }
        Err(_) => Exit::Config,
    }))
}
