//! libFuzzer over the targets of `fuzz/`, on stable Rust.
//!
//! The flags are those that cargo-fuzz gives to rustc. A sanitizer, which would need a nightly toolchain, has nothing to
//! find in crates that forbid unsafe code: findings are panics, overflows, broken promises of a target, hangs, and memory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{Case, Outcome, print};
use crate::shell::{self, apart, is_there, progress, run};

/// Each is a file of `fuzz/fuzz_targets`, with the longest input that makes sense.
const TARGETS: &[(&str, usize)] = &[
    ("report", 1_300),
    ("extension", 2_048),
    ("crl", 2_048),
    ("host_table", 8_192),
    ("hcl", 4_096),
    ("runtime_data", 4_096),
    ("quote", 1_024),
    ("policy", 8_192),
    ("launch", 8_192),
    ("token", 2_048),
    ("bundle", 16_384),
    ("manifest", 4_096),
    ("lease", 1_024),
];
const COVERAGE: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input that takes longer, or makes the process larger, is a finding.
const INPUT_SECONDS: u64 = 10;
const PROCESS_MIB: u64 = 1_024;

/// A case for each target, which runs this long.
pub(super) fn targets(seconds: u64) -> Result<Vec<Case>> {
    let case = |(name, longest): &(&str, usize), programs: Option<&Path>| match programs {
        Some(programs) => target(programs, name, *longest, seconds),
        None => {
            Ok((Outcome::Skip, "libFuzzer needs a C++ compiler (Debian: apt-get install g++)".to_owned()))
        }
    };
    let programs = if is_there("c++") { Some(build()?) } else { None };
    let named = |target: &(&str, usize)| {
        let (result, why) = case(target, programs.as_deref())?;
        let case = Case { id: format!("fixture:target:{}", target.0), result, why };
        print(&case);
        Ok(case)
    };
    TARGETS.iter().map(named).collect()
}

/// The folder of the built targets. Only what runs on the machine itself is instrumented, hence `--target`.
fn build() -> Result<PathBuf> {
    let (host, built) = (host()?, home()?);
    let mut cargo = apart("fuzz", &["build", "--locked", "--release", "--bins", "--target", &host]);
    cargo.arg("--target-dir").arg(&built).env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1F}"));
    run(&mut cargo)?;
    Ok(built.join(host).join("release"))
}

fn target(programs: &Path, name: &str, longest: usize, seconds: u64) -> Result<(Outcome, String)> {
    let folder = |kind: &str| -> Result<PathBuf> {
        let folder = home()?.join(kind).join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    };
    let (corpus, artifacts) = (folder("corpus")?, folder("artifacts")?);
    let log = home()?.join(format!("{name}.log"));
    progress(&format!("fuzzing {name} for {seconds} s; its words are in {}", log.display()));
    let mut fuzzer = Command::new(programs.join(name));
    fuzzer.arg(&corpus).arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.args([format!("-max_total_time={seconds}"), format!("-max_len={longest}")]);
    fuzzer.args([format!("-timeout={INPUT_SECONDS}"), format!("-rss_limit_mb={PROCESS_MIB}")]);
    fuzzer.args(["-seed=1", "-print_final_stats=1"]);
    let status = fuzzer.stdin(Stdio::null()).stderr(File::create(&log)?).status()?;
    let words = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    Ok(if status.success() { judge(&words, seconds) } else { (Outcome::Fail, finding(&words, &log)) })
}

/// A fuzzer that tried nothing has shown nothing.
fn judge(words: &str, seconds: u64) -> (Outcome, String) {
    let tried = number(words, "stat::number_of_executed_units:").unwrap_or(0);
    let reached = number(&words[words.rfind("cov: ").unwrap_or(words.len())..], "cov:").unwrap_or(0);
    let result = if tried > 0 && reached > 0 { Outcome::Pass } else { Outcome::Fail };
    (result, format!("{tried} inputs in {seconds} s reached {reached} places, no finding"))
}

fn number(words: &str, before: &str) -> Option<u64> {
    words.split_once(before)?.1.split_whitespace().next()?.parse().ok()
}

fn finding(words: &str, log: &Path) -> String {
    let of = |mark: &str| words.lines().find(|line| line.contains(mark)).unwrap_or_default();
    let saved = of("Test unit written to").rsplit(' ').next().unwrap_or_default();
    format!("{} {} (input: {saved}; log: {})", of("panicked at"), of("ERROR: libFuzzer"), log.display())
}

/// Where all of it is kept between runs.
fn home() -> Result<PathBuf> {
    Ok(shell::target()?.join("fuzz"))
}

/// The triple that rustc builds for by itself.
fn host() -> Result<String> {
    let words = shell::output(Command::new("rustc").arg("-vV"))?;
    let words = String::from_utf8(words)?;
    let line = words.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::workspace;

    #[test]
    fn every_target_is_run_and_no_other() {
        let files = fs::read_dir(workspace().join("fuzz/fuzz_targets")).unwrap();
        let mut there: Vec<_> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut known: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        there.sort();
        known.sort();
        assert_eq!(there, known);
    }

    #[test]
    fn a_fuzzer_that_tried_nothing_has_failed() {
        let words = "#2 INITED cov: 5 ft: 6\n#99 DONE cov: 321 ft: 9\nstat::number_of_executed_units: 99\n";
        assert_eq!(
            judge(words, 60),
            (Outcome::Pass, "99 inputs in 60 s reached 321 places, no finding".to_owned())
        );
        assert_eq!(judge("", 60).0, Outcome::Fail);
        assert_eq!(judge(&words.replace("cov", "x"), 60).0, Outcome::Fail);
    }

    #[test]
    fn a_finding_names_its_input() {
        let words = "thread panicked at a.rs:1:\n==1== ERROR: libFuzzer: deadly signal\nTest unit written to /x/crash-1\n";
        let why = finding(words, Path::new("/x/log"));
        assert!(["a.rs:1", "deadly", "/x/crash-1;", "/x/log"].iter().all(|part| why.contains(part)), "{why}");
    }
}
