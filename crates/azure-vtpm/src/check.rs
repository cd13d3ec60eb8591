//! One check, its outcome, and the refusal that a failed one becomes; as in `snp-evidence`, whose verdict on the SNP
//! report stands in the middle of this one.

use std::fmt;

use snp_evidence::{CheckOutcome, CheckResult, RefusalClass};

use crate::checks::Subject;

/// A row of the tables in `checks.rs`.
pub(crate) struct Check {
    pub(crate) id: &'static str,
    pub(crate) class: RefusalClass,
    /// Who vouches for the observed value.
    pub(crate) source: &'static str,
    /// What to do when it fails.
    pub(crate) fix: &'static str,
    pub(crate) judge: fn(&Subject<'_>) -> Judged,
}

/// What a check saw, or the id of the check without which it has nothing to look at.
pub(crate) type Judged = Result<Finding, Unjudged>;

/// Names the check that has to pass before this one can be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unjudged(pub(crate) &'static str);

pub(crate) struct Finding {
    result: CheckResult,
    observed: String,
    expected: String,
}

impl Finding {
    pub(crate) fn of(met: bool, observed: impl fmt::Display, expected: impl fmt::Display) -> Self {
        let result = if met { CheckResult::Pass } else { CheckResult::Fail };
        Self { result, observed: observed.to_string(), expected: expected.to_string() }
    }

    pub(crate) fn not_required(observed: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { result: CheckResult::NotRequired, ..Self::of(true, observed, why) }
    }
}

/// Evidence was refused. Holds every check's outcome; the first failed one is the reason.
#[derive(Clone, Debug)]
pub struct Refusal(Box<Refused>);

#[derive(Clone, Debug)]
struct Refused {
    class: RefusalClass,
    reason: usize,
    checks: Vec<CheckOutcome>,
}

impl Refusal {
    /// Id of the first check that failed.
    pub fn reason(&self) -> &'static str {
        self.failed().map_or("nothing.judged", |check| check.id)
    }

    /// Class of the first check that failed.
    pub fn class(&self) -> RefusalClass {
        self.0.class
    }

    /// Every check, in order.
    pub fn checks(&self) -> &[CheckOutcome] {
        &self.0.checks
    }

    /// The refusal where all checks passed and yet nothing came of it; no table of ours can end so.
    pub(crate) fn defect(checks: Vec<CheckOutcome>) -> Self {
        Self(Box::new(Refused { class: RefusalClass::Untrusted, reason: checks.len(), checks }))
    }

    fn failed(&self) -> Option<&CheckOutcome> {
        self.0.checks.get(self.0.reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(CheckOutcome { id, observed, expected, fix, .. }) = self.failed() else {
            return f.write_str("nothing was judged");
        };
        write!(f, "check {id} failed: observed {observed}, expected {expected}; {fix}")
    }
}

impl std::error::Error for Refusal {}

/// Gathers outcomes in order. After a failed core check nothing counts as passed any more: what the evidence says is
/// then only a claim.
#[derive(Default)]
pub(crate) struct Tally {
    checks: Vec<CheckOutcome>,
    first: Option<(RefusalClass, usize)>,
    core: Option<&'static str>,
}

impl Tally {
    pub(crate) fn run(&mut self, check: &Check, subject: &Subject<'_>) {
        let judged = (check.judge)(subject);
        let unjudged = judged.as_ref().err().map(|Unjudged(missing)| *missing);
        let not_judged =
            |Unjudged(missing)| Finding::of(false, format_args!("not judged: {missing} failed"), "");
        let Finding { result, observed, expected } = judged.unwrap_or_else(not_judged);
        let Check { id, class, source, fix, .. } = *check;
        self.add(CheckOutcome { id, class, result, observed, expected, source, fix, unjudged });
    }

    /// The rows of the SNP report. Only when the report is proven genuine may later rows count.
    pub(crate) fn add_report(&mut self, rows: impl Iterator<Item = CheckOutcome>) {
        let mut genuine = false;
        for row in rows {
            genuine |= row.id == "report.signature" && row.result == CheckResult::Pass;
            self.add(row);
        }
        if !genuine {
            self.core.get_or_insert("report.signature");
        }
    }

    fn add(&mut self, mut row: CheckOutcome) {
        if let (Some(core), CheckResult::Pass) = (self.core, row.result) {
            row.result = CheckResult::Fail;
            row.observed = format!("{} (not judged: {core} failed)", row.observed);
            row.unjudged = Some(core);
        }
        if row.result == CheckResult::Fail {
            self.first.get_or_insert((row.class, self.checks.len()));
            if row.class.is_core() {
                self.core.get_or_insert(row.id);
            }
        }
        self.checks.push(row);
    }

    pub(crate) fn finish(self) -> Result<Vec<CheckOutcome>, Refusal> {
        match self.first {
            None => Ok(self.checks),
            Some((class, reason)) => Err(Refusal(Box::new(Refused { class, reason, checks: self.checks }))),
        }
    }
}
