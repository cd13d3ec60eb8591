//! The shipped inference-gateway: AMD's roots, real clocks.

use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use inference_gateway::{Config, run};
use service_runtime::{Exit, SystemClock, block_on, harden, init_logs};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;

/// The public door of a Cube CVM.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration, inference-gateway.toml.
    #[arg(long)]
    config: PathBuf,
    /// Report every problem of the configuration, and end.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args.config).map_err(|error| error.to_string()) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if args.check_config {
        return std::io::stdout()
            .write_all(config.summary().as_bytes())
            .map_or(Exit::Config, |()| Exit::Clean)
            .into();
    }
    if let Err(error) =
        init_logs(&config.log_level).and_then(|()| harden().map_err(|error| error.to_string()))
    {
        return refuse(&error);
    }
    let listen = config.listen;
    block_on(move |stop| {
        run(config, TrustRoots::amd(), move || TcpListener::bind(listen), Arc::new(SystemClock), stop)
    })
}

fn refuse(error: &str) -> ExitCode {
    drop(writeln!(std::io::stderr(), "inference-gateway: {error}"));
    Exit::Config.into()
}
