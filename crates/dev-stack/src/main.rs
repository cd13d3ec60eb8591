//! `dev-stack demo`: what `cargo xtask demo` runs once a model server is up.

use std::process::ExitCode;

use clap::Parser;
use dev_stack::demo;
use service_runtime::{Exit, refuse};

/// The three services on simulated hardware.
#[derive(Parser)]
#[command(name = "dev-stack")]
enum Command {
    /// One verified, streamed answer; then stays up until Ctrl-C.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let Command::Demo(options) = Command::parse();
    match demo(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse("demo", format!("{error:#}"), Exit::Config),
    }
}

fn demo(options: &demo::Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(demo::run(options))
}
