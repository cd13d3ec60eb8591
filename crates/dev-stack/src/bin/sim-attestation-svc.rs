//! `attestation-svc` on simulated hardware: the shipped library, the simulator's chip and root.

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::Parser;
use dev_stack::{AttestationArgs, SimulatedPlatform, load_roots};
use service_runtime::{Exit, SystemClock, block_on, init_logs};

fn main() -> Result<ExitCode> {
    let args = AttestationArgs::parse();
    let config = attestation_svc::Config::load(&args.service.config)?;
    let roots = load_roots(&args.service)?;
    let platform = SimulatedPlatform::load(&args.machine, &args.guest)?;
    init_logs(&config.log_level).map_err(anyhow::Error::msg)?;
    Ok(block_on(async |shutdown| match tokio::net::TcpListener::bind(config.listen).await {
        Ok(listener) => {
            let clock = Arc::new(SystemClock);
            attestation_svc::run(config, Box::new(platform), roots, listener, clock, shutdown).await
        }
        Err(error) => {
            tracing::error!(listen = %config.listen, %error, "the port cannot be bound");
            Exit::Config
        }
    }))
}
