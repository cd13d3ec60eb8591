//! The shipped backend-adapter: AMD's roots, the machine's clocks.

use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use backend_adapter::{Config, run};
use clap::Parser;
use service_runtime::{Exit, SystemClock, block_on, harden, init_logs};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;

/// The only process of a Cube CVM that reaches the model server.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration, backend-adapter.toml.
    #[arg(long)]
    config: PathBuf,
    /// Report every problem of the configuration, and end.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => return refuse(&error.to_string()),
    };
    if args.check_config {
        let printed = std::io::stdout().write_all(config.summary().as_bytes());
        return printed.map_or(Exit::Config, |()| Exit::Clean).into();
    }
    let hardened = || harden().map_err(|error| error.to_string());
    if let Err(error) = init_logs(&config.log_level).and_then(|()| hardened()) {
        return refuse(&error);
    }
    let listen = config.listen;
    block_on(move |stop| {
        run(config, TrustRoots::amd(), move || TcpListener::bind(listen), Arc::new(SystemClock), stop)
    })
}

fn refuse(error: &str) -> ExitCode {
    drop(writeln!(std::io::stderr(), "backend-adapter: {error}"));
    Exit::Config.into()
}
