//! By check: evidence that a verifier without it would accept.
//!
//! No such verifier exists, in any build. A verdict is the conjunction of its outcomes, so that it shows by itself what
//! would become of it without one of them: where one check alone objects, and whatever else failed was not judged for
//! its sake, taking that one away leaves acceptance.

use std::{collections::BTreeMap, io, path::Path, process::ExitCode};

use snp_evidence::{CheckOutcome, only_objection};

use crate::conformance::{self, Case};

#[derive(Default)]
pub(crate) struct Proofs(BTreeMap<&'static str, Vec<Proof>>);

struct Proof {
    evidence: String,
    /// How many checks are left without anything to look at.
    unjudged: usize,
}

impl Proofs {
    /// Takes note of refused evidence if one check alone objects to it.
    pub(crate) fn record(&mut self, evidence: &str, checks: &[CheckOutcome]) {
        if let Some(check) = only_objection(checks) {
            let unjudged = checks.iter().filter(|other| other.unjudged.is_some());
            let proof = Proof { evidence: evidence.to_owned(), unjudged: unjudged.count() };
            self.0.entry(check.id).or_default().push(proof);
        }
    }

    /// Writes a case for each proof, a failed one for each of `checks` without any, and `others`.
    pub(crate) fn write(
        &self,
        checks: &[&CheckOutcome],
        others: impl IntoIterator<Item = Case>,
        file: &Path,
    ) -> io::Result<ExitCode> {
        let cases: Vec<_> = checks.iter().flat_map(|check| self.judge(check.id)).chain(others).collect();
        let missing = cases.iter().filter(|case| case.passed == Some(false)).count();
        println!("{} checks, {missing} of them without such evidence", checks.len());
        let passed = conformance::write("mutants", &cases, file)?;
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn judge(&self, check: &str) -> Vec<Case> {
        let found = self.0.get(check).map_or(&[][..], Vec::as_slice);
        let of = |kind: &str| found.iter().filter(|proof| proof.evidence.starts_with(kind)).count();
        let unjudged = found.iter().map(|proof| proof.unjudged).max().unwrap_or(0);
        let (fixtures, real) = (of("fixture:"), of("real:"));
        println!("{check:30} {fixtures:3} forgeries {real:3} real, {unjudged:3} checks fail for its sake");
        if found.is_empty() {
            let why = "nothing is refused by this check alone".to_owned();
            return vec![Case { id: format!("fixture:{check}"), passed: Some(false), why }];
        }
        let case = |proof: &Proof| {
            let (kind, name) = proof.evidence.split_once(':').unwrap();
            let why = format!("{name}: {check} objects, and nothing else");
            Case { id: format!("{kind}:{check}:{name}"), passed: Some(true), why }
        };
        found.iter().map(case).collect()
    }
}
