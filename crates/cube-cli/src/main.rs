//! `cube`: proves from outside what answers, and talks to it only then.
//!
//! Flow of a command that judges: `args` → connect or load → `judge` (snp-evidence) →
//! `table` or `json` on stdout → exit code of the verdict. `chat` goes on over
//! the very connection that was judged. `admin` is for those who run the CVM, and
//! speaks to attestation-svc over a socket on the same machine.

mod admin;
mod args;
mod ask;
mod audit;
mod azure;
mod chat;
mod exit;
mod failure;
mod fetch;
mod input;
mod key;
mod measure;
mod migrate;
mod policy;
mod protos;
mod proxy;
mod remember;
mod report;
mod table;
mod token;
mod trust;
mod trust_sync;
mod verdict;
mod verify;
mod yardstick;

use std::process::ExitCode;

use args::Command;
use clap::Parser;
use failure::Failure;

fn main() -> ExitCode {
    match run(args::Cube::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            tell(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// What is wrong with the user's own files takes as many lines as there are problems; what a peer said takes one.
fn tell(failure: &Failure) {
    let text = format!("cube: {failure}");
    match failure {
        Failure::Usage(_) => text.lines().for_each(table::progress),
        Failure::Client(_) | Failure::Answer(_) | Failure::Output(_) => table::progress(&text),
    }
}

fn run(command: Command) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Usage(format!("cannot start: {e}")))?;
    let result = runtime.block_on(async {
        match command {
            Command::Verify(args) => Box::pin(verify::run(*args)).await,
            Command::Report(args) => Box::pin(report::run(args)).await,
            Command::Chat(args) => Box::pin(chat::run(args)).await,
            Command::Proxy(args) => Box::pin(proxy::run(args)).await,
            Command::Trust(args) => Box::pin(trust::run(args)).await,
            Command::TrustSync(args) => Box::pin(trust_sync::run(args)).await,
            Command::Admin(args) => Box::pin(admin::run(args)).await,
            Command::Audit(args) => audit::run(&args),
            Command::Key(args) => key::run(&args),
            Command::Token(args) => token::run(&args),
            Command::Protos(args) => protos::run(&args),
            Command::Measure(args) => measure::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Policy(args) => Box::pin(policy::run(args)).await,
        }
    });
    // A name lookup that hangs in the system's resolver must not hold the exit.
    runtime.shutdown_background();
    result
}
