//! Benchmarks: `cargo xtask bench NAME`.

use anyhow::{Result, bail};

use crate::shell::{cargo, run};

/// Runs one benchmark; it prints a table and writes `target/bench/NAME.json`.
pub(crate) fn run_named(name: &str) -> Result<()> {
    match name {
        "gate" => run_release("gate"),
        other => bail!("no benchmark {other:?}; there is: gate"),
    }
}

fn run_release(example: &str) -> Result<()> {
    run(&mut cargo(&["run", "--locked", "--release", "--package", "health-gate", "--example", example]))
}
