//! `test`, `ci` and what is generated.

use std::process::Command;

use anyhow::Result;

use crate::{
    backend,
    shell::{cargo, progress, python, run, workspace},
    tidy,
};

/// Official clients that the tests drive unchanged.
const CLIENTS: &[&str] = &["grpcio==1.85.1", "httpx==0.28.1", "openai==3.54.0"];
/// Lints the .proto files.
const BUF: &[&str] = &["buf-bin==1.75.0"];

/// Every test that needs no special hardware.
pub(crate) fn test() -> Result<()> {
    // The end-to-end tests drive a real model server, official clients and the processes themselves.
    backend::install()?;
    python("clients", CLIENTS)?;
    run(&mut cargo(&["build", "--locked", "--workspace", "--bins"]))?;
    run(&mut cargo(&["test", "--locked", "--workspace"]))
}

/// What `.ci/run` runs, cheapest first.
pub(crate) fn ci() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    codegen(&["--check"])?;
    run(Command::new(python("buf", BUF)?.join("buf")).current_dir(workspace().join("proto")).arg("lint"))?;
    run(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    documents(&["--check"])?;
    run(cargo(&["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    test()?;
    progress("ci: everything passed");
    Ok(())
}

/// Generates Rust from the .proto files, or checks that it is in step.
pub(crate) fn codegen(arguments: &[&str]) -> Result<()> {
    example("proto", "codegen", arguments)
}

/// Generates documents and samples from the code, or checks that they are in step.
pub(crate) fn documents(arguments: &[&str]) -> Result<()> {
    example("e2e", "documents", arguments)
}

fn example(package: &str, name: &str, arguments: &[&str]) -> Result<()> {
    let base = ["run", "--locked", "--quiet", "--package", package, "--example", name, "--"];
    run(&mut cargo(&[&base, arguments].concat()))
}
