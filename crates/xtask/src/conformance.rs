//! Runs against what we did not write: `cargo xtask conformance NAME`.
//!
//! A run has a driver, which prints one [`Case`] a line as JSON. Here its tools are installed, its
//! cases collected and written to `target/conformance/NAME.json`, and the whole is judged: a driver that
//! breaks off, says nothing or repeats itself has failed, whatever its cases say. Those of the verifier
//! have too many cases for that; they write and judge them themselves.

mod containers;
mod cvm_image;
mod envoy;
mod fuzz;
mod go;
mod grpc_clients;
mod grpcurl;
mod helm;
mod isolation;
mod mutants;
mod sdk;
mod servers;
mod snp_peers;
mod systemd;
mod verifiers;

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    ci::clients,
    shell::{cargo, run, target},
};

/// Installs what a run needs, and gives the command that drives it.
type Driver = fn() -> Result<Command>;

const RUNS: &[(&str, Driver)] = &[
    ("containers", containers::driver),
    ("cvm-image", cvm_image::driver),
    ("envoy", envoy::driver),
    ("grpc-clients", grpc_clients::driver),
    ("grpcurl", grpcurl::driver),
    ("helm", helm::driver),
    ("isolation", isolation::driver),
    ("ollama", servers::ollama),
    ("ollama-js", || sdk::node("ollama-js", "ollama")),
    ("ollama-python", || sdk::python("ollama-python")),
    ("openai-node", || sdk::node("openai-node", "openai")),
    ("openai-python", || sdk::python("openai-python")),
    ("proxy", proxy),
    ("rotation", || example("rotation")),
    ("systemd", systemd::driver),
    ("verify-docs", || example("verify-docs")),
    ("vllm", servers::vllm),
];
/// Examples of the verifiers by their packages, which write their cases themselves: there are too many to print each.
const OF_THE_VERIFIERS: &[(&str, &[(&str, &str)])] = &[
    ("fuzz", &[("snp-evidence", "fuzz")]),
    ("mutants", &[("snp-evidence", "mutants"), ("azure-vtpm", "azure-mutants")]),
];

/// An example of `crates/e2e`, with the programs that it starts.
fn example(name: &str) -> Result<Command> {
    // In one build: apart, each would resolve the features of what they share anew.
    let packages = ["--package", "dev-stack", "--package", "cube-cli", "--package", "e2e"];
    run(cargo(&["build", "--locked", "--bins", "--example", name]).args(packages))?;
    Ok(Command::new(target()?.join("debug/examples").join(name)))
}

/// Official clients through `cube proxy`.
fn proxy() -> Result<Command> {
    let python = clients()?.join("python");
    let mut driver = example("proxy")?;
    driver.arg(python);
    Ok(driver)
}

/// How a case was shown: against the real thing, against a recording of it, or within one of our crates.
const KINDS: &[&str] = &["real:", "fixture:", "unit:"];

/// One thing that was tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    result: Outcome,
    /// What was seen where it failed, or why it was skipped; empty where it passed.
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Pass,
    Fail,
    Skip,
}

/// Drives one run; an error where a case failed or none passed. `seconds` is for each target of `fuzz`.
pub(crate) fn run_named(name: &str, seconds: u64) -> Result<()> {
    let driver = RUNS.iter().find(|(known, _)| *known == name).map(|(_, driver)| driver);
    let verifiers = OF_THE_VERIFIERS.iter().find(|(known, _)| *known == name).map(|(_, examples)| examples);
    let mut cases = match (driver, verifiers) {
        (Some(driver), _) => collect(name, driver()?)?,
        (None, Some(examples)) => examples.iter().map(by_example).collect::<Result<Vec<_>>>()?.concat(),
        (None, None) if name == snp_peers::NAME => snp_peers::run()?,
        (None, None) if name == verifiers::NAME => verifiers::run()?,
        (None, None) => bail!("no conformance run {name:?}; there is: {}", known().join(", ")),
    };
    match name {
        "fuzz" => cases.extend(fuzz::targets(seconds)?),
        "mutants" => cases.extend(mutants::removed()?),
        _ => {}
    }
    save(name, &cases)?;
    judge(name, &cases)
}

/// Every run.
pub(crate) fn known() -> Vec<&'static str> {
    let of_the_verifiers = OF_THE_VERIFIERS.iter().map(|(name, _)| *name);
    RUNS.iter()
        .map(|(name, _)| *name)
        .chain(of_the_verifiers)
        .chain([snp_peers::NAME, verifiers::NAME])
        .collect()
}

#[derive(Deserialize)]
struct Written {
    cases: Vec<Case>,
}

/// The cases that an example wrote into the file that it was given.
fn by_example((package, name): &(&str, &str)) -> Result<Vec<Case>> {
    let part = file(&format!("{name}-cases"))?;
    if part.exists() {
        fs::remove_file(&part)?;
    }
    let example = ["run", "--locked", "--release", "--package", package, "--example", name, "--"];
    let ended = run(cargo(&example).arg(&part));
    let Ok(written) = fs::read(&part) else {
        ended?;
        bail!("the example {name} of {package} wrote no cases");
    };
    let Written { cases } = serde_json::from_slice(&written).with_context(|| part.display().to_string())?;
    fs::remove_file(&part)?;
    // It ends badly where a case failed; otherwise it broke off.
    if !cases.iter().any(|case| case.result == Outcome::Fail) {
        ended?;
    }
    Ok(cases)
}

/// The driver's cases as they come, and one of ours where it did not end as it should.
fn collect(name: &str, mut driver: Command) -> Result<Vec<Case>> {
    let driver = driver.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = driver.spawn().context("the driver cannot be started")?;
    let mut cases = Vec::new();
    for line in BufReader::new(child.stdout.take().context("no stdout")?).lines() {
        let line = line?;
        let case = serde_json::from_str(&line)
            .unwrap_or_else(|error| broken(name, "line", &format!("{error}: {line}")));
        print(&case);
        cases.push(case);
    }
    let status = child.wait()?;
    let complaint =
        if status.success() { complaint(&cases) } else { Some(format!("it ended with {status}")) };
    if let Some(complaint) = complaint {
        let case = broken(name, "driver", &complaint);
        print(&case);
        cases.push(case);
    }
    Ok(cases)
}

fn broken(name: &str, what: &str, why: &str) -> Case {
    Case { id: format!("unit:{name}/{what}"), result: Outcome::Fail, why: why.to_owned() }
}

/// What makes a list of cases worth nothing.
fn complaint(cases: &[Case]) -> Option<String> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = cases.iter().find(|case| !seen.insert(&case.id)) {
        return Some(format!("it told of {} twice", twice.id));
    }
    let unknown = cases.iter().find(|case| !KINDS.iter().any(|kind| case.id.starts_with(kind)));
    if let Some(unknown) = unknown {
        return Some(format!("{} does not begin with one of {}", unknown.id, KINDS.join(" ")));
    }
    cases.is_empty().then(|| "it told of no case".to_owned())
}

fn save(name: &str, cases: &[Case]) -> Result<()> {
    let whole = serde_json::json!({ "name": name, "cases": cases });
    let path = file(name)?;
    fs::write(&path, format!("{whole:#}\n")).with_context(|| path.display().to_string())
}

/// `target/conformance/NAME.json`.
fn file(name: &str) -> Result<PathBuf> {
    let folder = target()?.join("conformance");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{name}.json")))
}

fn judge(name: &str, cases: &[Case]) -> Result<()> {
    let count = |which| cases.iter().filter(|case| case.result == which).count();
    let (passed, failed, skipped) = (count(Outcome::Pass), count(Outcome::Fail), count(Outcome::Skip));
    line(&format!("{name}: {passed} passed, {failed} failed, {skipped} skipped"));
    ensure!(failed == 0, "{failed} of {} cases failed", cases.len());
    ensure!(passed > 0, "nothing passed, and what is skipped is not passed");
    Ok(())
}

fn print(case: &Case) {
    let why = if case.why.is_empty() { String::new() } else { format!("\n     {}", case.why) };
    line(&format!("{} {}{why}", case.result, case.id));
}

#[expect(clippy::print_stdout, reason = "results belong on stdout")]
fn line(text: &str) {
    println!("{text}");
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str, result: Outcome) -> Case {
        Case { id: id.to_owned(), result, why: String::new() }
    }

    /// What a driver that runs `script` is recorded with.
    fn told(script: &str) -> Vec<Case> {
        let mut driver = Command::new("sh");
        driver.args(["-c", script]);
        collect("test", driver).unwrap()
    }

    #[test]
    fn a_failure_fails_and_a_skip_is_no_pass() {
        let (pass, fail, skip) =
            (case("real:a", Outcome::Pass), case("real:b", Outcome::Fail), case("real:c", Outcome::Skip));
        assert!(judge("test", &[pass.clone(), skip.clone()]).is_ok());
        assert!(judge("test", &[pass, fail]).is_err());
        assert!(judge("test", &[skip]).is_err());
        assert!(judge("test", &[]).is_err());
    }

    #[test]
    fn the_drivers_lines_are_its_cases() {
        let cases = told(r#"echo '{"id":"real:a","result":"skip","why":"no tool"}'"#);
        assert_eq!((cases.len(), cases[0].result, cases[0].why.as_str()), (1, Outcome::Skip, "no tool"));
    }

    #[test]
    fn a_driver_that_does_not_do_its_work_has_failed() {
        let pass = r#"echo '{"id":"real:a","result":"pass","why":""}'"#;
        for script in [
            "true".to_owned(),
            format!("{pass}; exit 3"),
            format!("{pass}; kill -9 $$"),
            format!("{pass}; {pass}"),
            format!("{pass}; echo no JSON"),
            pass.replace("real:", ""),
            pass.replace("pass\"", "fine\""),
        ] {
            assert_eq!(told(&script).last().unwrap().result, Outcome::Fail, "{script}");
        }
    }

    #[test]
    fn a_run_that_is_not_there_is_named_with_those_that_are() {
        let error = run_named("absent", 1).unwrap_err().to_string();
        assert!(known().iter().all(|name| error.contains(name)), "{error}");
    }
}
