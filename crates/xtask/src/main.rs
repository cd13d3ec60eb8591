//! The project's own commands: `cargo xtask --help`.
//!
//! Each does its own set-up and says plainly what is missing. Results go to
//! stdout, progress to stderr.

mod backend;
mod bench;
mod ci;
mod conformance;
mod cvm;
mod demo;
mod package;
mod peers;
mod shell;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// Builds, tests and shows Cube.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// The main job: a real small model answers through the attested chain, on simulated hardware.
    Demo(demo::Options),
    /// Every test that needs no special hardware.
    Test,
    /// What CI runs: format, lints, documents, generated code, tidy, tests.
    Ci,
    /// A benchmark with its baseline in the same run, or `page`: docs/benchmarks.md from the last runs.
    Bench {
        /// Which one; an unknown name lists them.
        name: String,
    },
    /// A run against something we did not write, which is installed first, or against damage and forgeries.
    Conformance {
        /// Which one; an unknown name lists them.
        name: String,
        /// Of fuzz: how long each of its targets runs.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Static programs for x86-64 Linux, a wheel with `cube`, what they are made of, and checksums, in target/package.
    Package,
    /// Kernel, initrd, command line and disks that a launch measurement covers, in target/cvm.
    CvmImage(cvm::Options),
    /// Renews what is generated: Rust from the .proto files, documents and samples from the code.
    Codegen {
        /// Also makes this the interface that later changes must not break (proto/baseline.binpb).
        #[arg(long)]
        baseline: bool,
    },
    /// Checks what lints cannot: arrows between crates, bans, licences, file sizes.
    Tidy,
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Demo(options) => demo::run(&options),
        Command::Test => ci::test(),
        Command::Ci => ci::ci(),
        Command::Bench { name } => bench::run_named(&name),
        Command::Conformance { name, seconds } => conformance::run_named(&name, seconds),
        Command::Package => package::package(),
        Command::CvmImage(options) => cvm::image(options),
        Command::Codegen { baseline } => ci::renew(baseline),
        Command::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
