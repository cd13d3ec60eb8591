//! `test`, `ci` and `codegen`.

use anyhow::Result;

use crate::{
    backend, clients,
    shell::{cargo, progress, run},
    tidy,
};

/// Every test that needs no special hardware.
pub(crate) fn test() -> Result<()> {
    // The end-to-end tests drive a real model server and the processes themselves.
    backend::install()?;
    clients::install()?;
    run(&mut cargo(&["build", "--locked", "--workspace", "--bins"]))?;
    run(&mut cargo(&["test", "--locked", "--workspace"]))
}

/// What `.ci/run` runs, cheapest first.
pub(crate) fn ci() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    codegen(&["--check"])?;
    run(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo(&["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    test()?;
    progress("ci: everything passed");
    Ok(())
}

/// Generates Rust from the .proto files, or checks that it is in step.
pub(crate) fn codegen(arguments: &[&str]) -> Result<()> {
    let base = ["run", "--locked", "--quiet", "--package", "proto", "--example", "codegen", "--"];
    run(&mut cargo(&[&base, arguments].concat()))
}
