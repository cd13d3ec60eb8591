//! `inference-gateway` on simulated hardware: the shipped library, the simulator's root.

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::Parser;
use dev_stack::{ServiceArgs, load_roots};
use service_runtime::{Exit, SystemClock, block_on, init_logs, refuse};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    start().unwrap_or_else(|error| refuse("inference-gateway", format!("{error:#}"), Exit::Config))
}

fn start() -> Result<ExitCode> {
    let args = ServiceArgs::parse();
    let config = match inference_gateway::Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => return Ok(refuse("inference-gateway", &error, error.exit())),
    };
    let roots = load_roots(&args)?;
    init_logs(&config.log_level).map_err(anyhow::Error::msg)?;
    let listen = config.listen;
    let bind = move || TcpListener::bind(listen);
    Ok(block_on(|shutdown| inference_gateway::run(config, roots, bind, Arc::new(SystemClock), shutdown)))
}
