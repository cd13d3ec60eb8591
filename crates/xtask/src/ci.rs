//! `test`, `ci` and what is generated.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    backend,
    shell::{APART, apart, cargo, progress, python, run, workspace},
    tidy,
};

/// Official clients that the tests drive unchanged.
const CLIENTS: &[&str] = &["grpcio==1.85.1", "httpx==0.28.1", "ollama==0.6.3", "openai==3.54.0"];
/// Lints the .proto files, and compares them with the baseline.
const BUF: &[&str] = &["buf-bin==1.75.0"];

/// Installs them; where their Python is.
pub(crate) fn clients() -> Result<PathBuf> {
    python("clients", CLIENTS)
}

/// Installs what reads .proto files; where it is.
pub(crate) fn buf() -> Result<PathBuf> {
    Ok(python("buf", BUF)?.join("buf"))
}

/// Every test that needs no special hardware.
pub(crate) fn test() -> Result<()> {
    // The end-to-end tests drive a real model server, official clients and the processes themselves.
    backend::install()?;
    clients()?;
    run(&mut cargo(&["build", "--locked", "--workspace", "--bins"]))?;
    // One failure must not hide the others.
    run(&mut cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]))
}

/// What `.ci/run` runs, cheapest first.
pub(crate) fn ci() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    for folder in APART {
        run(&mut apart(folder, &["fmt", "--all", "--check"]))?;
    }
    tidy::run()?;
    codegen(&["--check"])?;
    interfaces()?;
    run(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    documents(&["--check"])?;
    run(cargo(&["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    test()?;
    progress("ci: everything passed");
    Ok(())
}

/// The .proto files by themselves: style, a comment on everything, and that no client breaks.
///
/// What must not break is `proto/baseline.binpb`, the interface as it was last promised, and not the commit
/// before: a chain of small steps could break anything while each step is compared with the last alone, and a
/// break that is meant could never be told from one that is not. Whoever means it renews the baseline in the
/// same commit (`cargo xtask codegen --baseline`), where it is seen. Nothing is released yet, so until the
/// first release the baseline is what was deliberately renewed last; from then on it is the release.
fn interfaces() -> Result<()> {
    let buf = buf()?;
    let proto = workspace().join("proto");
    run(Command::new(&buf).current_dir(&proto).arg("lint"))?;
    run(Command::new(&buf).current_dir(&proto).args(["breaking", "--against", "baseline.binpb"])).context(
        "clients of the promised interface would break; where that is meant, run `cargo xtask codegen --baseline`",
    )
}

/// Renews all that is generated; with `baseline`, also the interface that later changes must not break.
pub(crate) fn renew(baseline: bool) -> Result<()> {
    codegen(if baseline { &["--baseline"] } else { &[] })?;
    documents(&[])
}

/// Generates Rust from the .proto files, or checks that it is in step.
fn codegen(arguments: &[&str]) -> Result<()> {
    example("proto", "codegen", arguments)
}

/// Generates documents and samples from the code, or checks that they are in step.
fn documents(arguments: &[&str]) -> Result<()> {
    example("e2e", "documents", arguments)
}

fn example(package: &str, name: &str, arguments: &[&str]) -> Result<()> {
    let base = ["run", "--locked", "--quiet", "--package", package, "--example", name, "--"];
    run(&mut cargo(&[&base, arguments].concat()))
}
