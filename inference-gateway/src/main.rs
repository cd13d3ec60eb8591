//! The shipped inference-gateway: AMD's roots, the machine's clocks.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use inference_gateway::{Config, run};
use service_runtime::{Exit, SystemClock, block_on, harden, init_logs, refuse};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;

/// The public door of a Cube CVM.
#[derive(Parser)]
struct Args {
    /// inference-gateway.toml.
    #[arg(long)]
    config: PathBuf,
    /// Report every problem of the configuration, or its digests, and end.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    start().unwrap_or_else(|problem| refuse("inference-gateway", problem, Exit::Config))
}

fn start() -> Result<ExitCode, String> {
    let args = Args::parse();
    let config = Config::load(&args.config).map_err(|error| error.to_string())?;
    if args.check_config {
        let printed = std::io::Write::write_all(&mut std::io::stdout(), config.summary().as_bytes());
        return printed.map(|()| Exit::Clean.into()).map_err(|error| error.to_string());
    }
    init_logs(&config.log_level)?;
    harden().map_err(|error| format!("memory cannot be kept out of core files: {error}"))?;
    let listen = config.listen;
    let bind = move || TcpListener::bind(listen);
    Ok(block_on(|stop| run(config, TrustRoots::amd(), bind, Arc::new(SystemClock), stop)))
}
