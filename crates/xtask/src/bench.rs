//! Benchmarks: `cargo xtask bench NAME`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    peers::{self, Peer},
    shell::{cargo, output, progress, run, target, workspace},
};

/// Each is an example of that name in the crate beside it.
const BENCHES: &[(&str, &str)] =
    &[("reports", E2E), ("stream", E2E), ("token", E2E), ("verify", "snp-evidence")];
/// Examples of this crate start the services on simulated hardware.
const E2E: &str = "e2e";

/// Runs one benchmark; it prints a table and writes `target/bench/NAME.json`.
pub(crate) fn run_named(name: &str) -> Result<()> {
    let Some((_, package)) = BENCHES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = BENCHES.iter().map(|(known, _)| *known).collect();
        bail!("no benchmark {name:?}; there is: {}", known.join(", "));
    };
    let file = target()?.join("bench").join(format!("{name}.json"));
    if *package == E2E {
        run(&mut cargo(&["build", "--locked", "--release", "--package", "dev-stack", "--bins"]))?;
    }
    let peers = if name == "verify" { verifiers()? } else { Vec::new() };
    let example = ["run", "--locked", "--release", "--package", package, "--example", name, "--"];
    run(cargo(&example).arg(commit()?).arg(file).args(peers))
}

/// What stands beside our verifier, as NAME=PROGRAM; a line on stderr for each that this machine cannot have.
fn verifiers() -> Result<Vec<String>> {
    run(&mut cargo(&["build", "--locked", "--release", "--package", "cube-cli", "--bins"]))?;
    let cube = target()?.join("release").join("cube");
    let mut programs = vec![format!("cube={}", cube.display())];
    let names = ["sev-openssl", "sev-nossl", "snpguest"];
    let found = [peers::sev(names[0])?, peers::sev(names[1])?, peers::snpguest()?];
    for (name, peer) in names.iter().zip(found) {
        match peer {
            Peer::At(program) => programs.push(format!("{name}={}", program.display())),
            Peer::Missing(why) => progress(&format!("{name} is not measured: {why}")),
        }
    }
    Ok(programs)
}

/// What is measured, marked where the tree differs from it.
fn commit() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(workspace()).args(["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]);
    Ok(String::from_utf8(output(&mut git)?)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_benchmark_is_there_and_no_other_runs() {
        for (name, package) in BENCHES {
            let file = |end| workspace().join(format!("crates/{package}/examples/{name}{end}")).is_file();
            assert!(file(".rs") || file("/main.rs"), "{name}");
        }
        let error = run_named("absent").unwrap_err().to_string();
        assert!(BENCHES.iter().all(|(name, _)| error.contains(name)), "{error}");
    }
}
