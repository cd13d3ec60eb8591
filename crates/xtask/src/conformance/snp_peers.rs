//! What other verifiers say of the evidence that ours is tested on, beside what ours says.
//!
//! Every difference has to be explained in `docs/peers-verdicts.md`, and every explanation there has to explain one, so
//! that the page neither hides a fault of ours nor speaks of faults that a peer has mended.

mod document;
mod peers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Case, Outcome, print};
use crate::shell::{cargo, progress, run as run_command, target, workspace};
use document::Document;
use peers::{PEERS, Ran};

pub(super) const NAME: &str = "snp-peers";
/// The clock for what could not be judged on any day.
const REFERENCE: &str = "2026-11-23T00:00:00Z";

/// Evidence that lies in a folder.
struct Vector {
    id: String,
    folder: PathBuf,
    /// RFC 3339.
    at: String,
    /// AMD's name.
    product: String,
}

/// What a verifier says of it, in its own words where it refuses. Of ours these are the id of the first failed check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    accepts: bool,
    words: String,
}

/// By vector.
type Verdicts = BTreeMap<String, Verdict>;

pub(super) fn run() -> Result<Vec<Case>> {
    let evidence = workspace().join("../shared/evidence");
    if !evidence.join("index.json").exists() {
        return Ok(vec![case("all", Outcome::Skip, "../shared/evidence is absent".to_owned())]);
    }
    let vectors = vectors(&evidence)?;
    let ours = ours(&vectors)?;
    let mut document = Document::read(&workspace().join("docs/peers-verdicts.md"))?;
    let (mut cases, mut ran) = (Vec::new(), Vec::new());
    for peer in PEERS {
        progress(&format!("asking {}", peer.name));
        match (peer.ask)(&vectors)? {
            Ran::Judged(verdicts) => {
                cases.extend(compare(peer.name, &ours, &verdicts, &mut document));
                ran.push((peer, verdicts));
            }
            Ran::Missing(why) => cases.push(case(peer.name, Outcome::Skip, why)),
        }
    }
    let names: BTreeSet<_> = ran.iter().map(|(peer, _)| peer.name).collect();
    cases.extend(document.idle(&names).into_iter().map(|row| {
        let why = format!("explains nothing that this run saw: {row}");
        case("docs/peers-verdicts.md", Outcome::Fail, why)
    }));
    document.write(&ours, &ran)?;
    cases.iter().for_each(print);
    Ok(cases)
}

/// A case for each vector that both judged.
fn compare(peer: &str, ours: &Verdicts, theirs: &Verdicts, document: &mut Document) -> Vec<Case> {
    let one = |(id, our): (&String, &Verdict)| {
        let name = format!("{peer}:{id}");
        let Some(their) = theirs.get(id) else {
            return case(&name, Outcome::Fail, "it said nothing".to_owned());
        };
        if our.accepts == their.accepts {
            return case(&name, Outcome::Pass, String::new());
        }
        if let Some(why) = document.explain(peer, our, their) {
            return case(&name, Outcome::Pass, format!("differs: {why}"));
        }
        let why = format!("not explained in docs/peers-verdicts.md: ours {our}, theirs {their}");
        case(&name, Outcome::Fail, why)
    };
    ours.iter().map(one).collect()
}

fn case(what: &str, result: Outcome, why: String) -> Case {
    Case { id: format!("real:{what}"), result, why }
}

fn vectors(evidence: &Path) -> Result<Vec<Vector>> {
    let json = |path: PathBuf| -> Result<Value> {
        serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())
    };
    let index = json(evidence.join("index.json"))?;
    let all = index.get("vectors").and_then(Value::as_array).context("index.json has no vectors")?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let reports = all.iter().filter(|entry| text(entry, "kind").is_some_and(|kind| kind == "sev-snp-report"));
    let read = |entry: &Value| {
        let id = text(entry, "id").context("a vector without id")?;
        let folder = evidence.join(&id);
        let notes = json(folder.join("notes.json"))?;
        let at = text(&notes, "verify_at").unwrap_or_else(|| REFERENCE.to_owned());
        let product = text(&notes, "product").with_context(|| format!("{id} has no product"))?;
        Ok(Vector { id, folder, at, product })
    };
    reports.map(read).collect()
}

/// `cube verify` under the policy that asks only whether evidence is genuine.
fn ours(vectors: &[Vector]) -> Result<Verdicts> {
    run_command(&mut cargo(&["build", "--locked", "--package", "cube-cli", "--bins"]))?;
    let (cube, policy) =
        (target()?.join("debug").join("cube"), workspace().join("conformance/policies/cryptographic.toml"));
    let judge = |vector: &Vector| {
        let mut command = Command::new(&cube);
        command.arg("verify").arg("--report").arg(vector.folder.join("report.bin"));
        command.arg("--certs").arg(&vector.folder).arg("--policy").arg(&policy);
        let output = command.args(["--at", &vector.at, "--json"]).output()?;
        let said: Value = serde_json::from_slice(&output.stdout).with_context(|| vector.id.clone())?;
        let words = said.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
        // 16: genuine, with nothing said of the software.
        let accepts = matches!(output.status.code(), Some(0 | 16));
        let words = if accepts { String::new() } else { words };
        Ok((vector.id.clone(), Verdict { accepts, words }))
    };
    vectors.iter().map(judge).collect()
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.accepts { f.write_str("accepts") } else { write!(f, "refuses ({})", self.words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(all: &[(&str, bool, &str)]) -> Verdicts {
        let one = |(id, accepts, words): &(&str, bool, &str)| {
            ((*id).to_owned(), Verdict { accepts: *accepts, words: (*words).to_owned() })
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn a_difference_has_to_be_explained_and_an_explanation_to_explain() {
        let ours = verdicts(&[("a", true, ""), ("b", false, "vek.hwid")]);
        let theirs = verdicts(&[("a", false, "unknown product 7"), ("b", true, "")]);
        let row = "| x, y | accepts | `unknown product` | it knows less |\n";
        let mut document = Document::parse(&format!("## Why they differ\n\n{row}")).unwrap();
        let results = |cases: Vec<Case>| cases.iter().map(|case| case.result).collect::<Vec<_>>();
        let found = compare("x", &ours, &theirs, &mut document);
        assert_eq!(results(found), [Outcome::Pass, Outcome::Fail], "b is not explained");
        assert!(document.idle(&BTreeSet::from(["x"])).is_empty());
        assert_eq!(document.idle(&BTreeSet::from(["x", "y"])).len(), 1, "y has no such difference");
        assert_eq!(results(compare("z", &ours, &ours, &mut document)), [Outcome::Pass; 2]);
        assert_eq!(results(compare("z", &ours, &Verdicts::new(), &mut document)), [Outcome::Fail; 2]);
    }
}
