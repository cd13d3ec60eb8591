//! Runs against what we did not write: `cargo xtask conformance NAME`.
//!
//! A run has a driver, which prints one [`Case`] a line as JSON. Here its tools are installed, its
//! cases collected and written to `target/conformance/NAME.json`, and the whole is judged: a driver that
//! breaks off, says nothing or repeats itself has failed, whatever its cases say. Those of the verifier
//! have too many cases for that; they write and judge them themselves.

mod grpcurl;

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::shell::{cargo, run, target};

/// Installs what a run needs, and gives the command that drives it.
type Driver = fn() -> Result<Command>;

const RUNS: &[(&str, Driver)] = &[("grpcurl", grpcurl::driver)];
/// Examples of the verifier.
const OF_THE_VERIFIER: &[&str] = &["fuzz", "mutants"];

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

/// Drives one run; an error where a case failed or none passed.
pub(crate) fn run_named(name: &str) -> Result<()> {
    if OF_THE_VERIFIER.contains(&name) {
        return of_the_verifier(name);
    }
    let Some((_, driver)) = RUNS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> =
            RUNS.iter().map(|(known, _)| *known).chain(OF_THE_VERIFIER.iter().copied()).collect();
        bail!("no conformance run {name:?}; there is: {}", known.join(", "));
    };
    let cases = collect(name, driver()?)?;
    save(name, &cases)?;
    judge(name, &cases)
}

fn of_the_verifier(name: &str) -> Result<()> {
    let example = ["run", "--locked", "--release", "--package", "snp-evidence", "--example", name, "--"];
    run(cargo(&example).arg(file(name)?))
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
        let error = run_named("absent").unwrap_err().to_string();
        let names = RUNS.iter().map(|(name, _)| name).chain(OF_THE_VERIFIER);
        assert!(names.into_iter().all(|name| error.contains(name)), "{error}");
    }
}
