//! `dev-stack demo`: what `cargo xtask demo` runs once a model server is up.

use std::process::ExitCode;

use clap::Parser;
use dev_stack::demo;

/// The three services on simulated hardware.
#[derive(Parser)]
#[command(name = "dev-stack")]
enum Command {
    /// One verified, streamed answer; then stays up until Ctrl-C.
    Demo(demo::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let Command::Demo(options) = Command::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(demo::run(&options))?;
    Ok(ExitCode::SUCCESS)
}
