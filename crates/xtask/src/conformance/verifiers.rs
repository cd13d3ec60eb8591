//! Our verifier and one in Python, which was written from docs/spec alone, over the conformance pack: the same verdicts for the
//! same reasons. The pack's form and the protocol are in conformance/README.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Case, Outcome, line};
use crate::shell::{cargo, progress, python, run as run_command, target, workspace};

pub(super) const NAME: &str = "verifiers";
const PACKAGES: &[&str] = &["cryptography==50.0.2"];

/// A line of the pack.
#[derive(Deserialize)]
struct Question {
    id: String,
    input: Box<RawValue>,
    #[serde(flatten)]
    expected: Verdict,
    exit: i32,
}

/// A line of an answer.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Verdict {
    verdict: String,
    reason: Option<String>,
}

struct Verifier {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<PathBuf>,
}

pub(super) fn run() -> Result<Vec<Case>> {
    let pack = make_pack()?;
    let verifiers = [rust()?, in_python()?];
    let mut cases = Vec::new();
    for file in ["cases.jsonl", "flips.jsonl"] {
        let questions = read(&pack.join(file))?;
        for verifier in &verifiers {
            progress(&format!("asking {} {} questions", verifier.name, questions.len()));
            cases.extend(verifier.judge(&questions)?);
        }
        if file == "cases.jsonl" {
            for verifier in &verifiers {
                cases.extend(verifier.exit_codes(&questions)?);
            }
        }
    }
    table(&cases);
    Ok(cases)
}

fn make_pack() -> Result<PathBuf> {
    let folder = target()?.join("conformance/pack");
    let example = ["run", "--locked", "--release", "--package", "snp-evidence", "--example", "pack", "--"];
    run_command(cargo(&example).arg(&folder))?;
    Ok(folder)
}

fn rust() -> Result<Verifier> {
    run_command(&mut cargo(&[
        "build",
        "--locked",
        "--release",
        "--package",
        "e2e",
        "--example",
        "verifier",
    ]))?;
    let program = target()?.join("release/examples/verifier");
    Ok(Verifier { name: "rust", program, arguments: Vec::new() })
}

fn in_python() -> Result<Verifier> {
    let program = python("verifier", PACKAGES)?.join("python");
    Ok(Verifier {
        name: "python",
        program,
        arguments: vec![workspace().join("conformance/python/runner.py")],
    })
}

fn read(file: &Path) -> Result<Vec<Question>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

impl Verifier {
    /// What it says of each, and how it ended.
    fn ask<'q>(&self, inputs: impl Iterator<Item = &'q str>) -> Result<(Vec<Verdict>, Option<i32>)> {
        let mut asked = Command::new(&self.program);
        let asked = asked.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = asked.spawn().with_context(|| self.program.display().to_string())?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        let questions: String = inputs.flat_map(|input| [input, "\n"]).collect();
        // Beside the reading, since neither pipe holds it all. Who ends early shows by what it has not answered.
        let writer = thread::spawn(move || stdin.write_all(questions.as_bytes()));
        let ended = child.wait_with_output()?;
        drop(writer.join());
        let answers = String::from_utf8(ended.stdout)?;
        let verdicts = answers.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
        Ok((verdicts, ended.status.code()))
    }

    fn judge(&self, questions: &[Question]) -> Result<Vec<Case>> {
        let (verdicts, _) = self.ask(questions.iter().map(|question| question.input.get()))?;
        ensure!(
            verdicts.len() == questions.len(),
            "{} answered {} of {}",
            self.name,
            verdicts.len(),
            questions.len()
        );
        let case = |(question, verdict): (&Question, &Verdict)| {
            let Question { id, expected, .. } = question;
            self.case(id, verdict == expected, format!("{expected:?} is right, it says {verdict:?}"))
        };
        Ok(questions.iter().zip(&verdicts).map(case).collect())
    }

    /// One question of each exit code, and one that is none.
    fn exit_codes(&self, questions: &[Question]) -> Result<Vec<Case>> {
        let mut seen = BTreeSet::new();
        let first = questions.iter().filter(|question| seen.insert(question.exit));
        let inputs = first.map(|question| (question.exit, question.input.get())).chain([(2, "{}")]);
        let case = |(expected, input): (i32, &str)| {
            let (_, code) = self.ask([input].into_iter())?;
            Ok(self.case(
                &format!("exit/{expected}"),
                code == Some(expected),
                format!("it ended with {code:?}"),
            ))
        };
        inputs.map(case).collect()
    }

    fn case(&self, id: &str, passed: bool, why: String) -> Case {
        let (result, why) = if passed { (Outcome::Pass, String::new()) } else { (Outcome::Fail, why) };
        Case { id: format!("fixture:{}/{id}", self.name), result, why }
    }
}

/// By kind of question and verifier: how many were answered rightly. What was not follows.
fn table(cases: &[Case]) {
    let mut rows: BTreeMap<[&str; 2], (usize, usize)> = BTreeMap::new();
    for case in cases {
        let mut parts = case.id.trim_start_matches("fixture:").split('/');
        let [verifier, kind] = [parts.next().unwrap_or_default(), parts.next().unwrap_or_default()];
        let (right, all) = rows.entry([kind, verifier]).or_default();
        *right += usize::from(case.result == Outcome::Pass);
        *all += 1;
    }
    for ([kind, verifier], (right, all)) in rows {
        line(&format!("{kind:8} {verifier:8} {right:5} of {all}"));
    }
    cases.iter().filter(|case| case.result == Outcome::Fail).for_each(super::print);
}
