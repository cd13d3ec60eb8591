//! One check, its outcome, and the refusal that a failed one becomes.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::checks::Subject;

/// A row of the tables in `checks.rs`.
pub(crate) struct Check {
    /// Stable name; for policy checks also the place in the policy file.
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

#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) result: CheckResult,
    pub(crate) observed: String,
    pub(crate) expected: String,
}

impl Finding {
    pub(crate) fn of(met: bool, observed: impl fmt::Display, expected: impl fmt::Display) -> Self {
        let result = if met { CheckResult::Pass } else { CheckResult::Fail };
        Self { result, observed: observed.to_string(), expected: expected.to_string() }
    }

    pub(crate) fn not_required(observed: impl fmt::Display, why: impl fmt::Display) -> Self {
        let result = CheckResult::NotRequired;
        Self { result, observed: observed.to_string(), expected: why.to_string() }
    }

    fn unjudged(missing: &str) -> Self {
        Self::of(false, format!("not judged: {missing} failed"), "")
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// Looked at and right.
    Pass,
    /// Wrong, or not judged because an earlier check failed.
    Fail,
    /// The policy, or the kind of evidence, does not ask for it.
    NotRequired,
}

/// One row of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckOutcome {
    /// Stable name of the check.
    pub id: &'static str,
    /// How it ended.
    pub result: CheckResult,
    /// What was seen.
    pub observed: String,
    /// What would have passed.
    pub expected: String,
    /// Who vouches for the observed value: `AMD`, `policy`, `this connection` …
    pub source: &'static str,
    /// What to do when it fails.
    pub fix: &'static str,
}

/// Whose fault a refusal is, and so which exit code it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalClass {
    /// The evidence is not genuine, not whole or not AMD's.
    Evidence,
    /// Genuine evidence of something the policy does not accept.
    Policy,
    /// A certificate or list needed for judging is missing or stale.
    Collateral,
    /// Genuine evidence that was not made for this channel or challenge.
    Channel,
}

/// Evidence was refused. Holds every check's outcome; the first failed one is the reason.
#[derive(Clone, Debug)]
pub struct Refusal(Box<Refused>);

#[derive(Clone, Debug)]
struct Refused {
    class: RefusalClass,
    failed: CheckOutcome,
    checks: Vec<CheckOutcome>,
}

impl Refusal {
    fn new(class: RefusalClass, failed: CheckOutcome, checks: Vec<CheckOutcome>) -> Self {
        Self(Box::new(Refused { class, failed, checks }))
    }

    /// Id of the first check that failed.
    pub fn reason(&self) -> &'static str {
        self.0.failed.id
    }

    /// Class of the first check that failed.
    pub fn class(&self) -> RefusalClass {
        self.0.class
    }

    /// Every check, in order.
    pub fn checks(&self) -> &[CheckOutcome] {
        &self.0.checks
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckOutcome { id, observed, expected, fix, .. } = &self.0.failed;
        write!(f, "check {id} failed: observed {observed}, expected {expected}; {fix}")
    }
}

impl std::error::Error for Refusal {}

impl Serialize for RefusalClass {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match self {
            Self::Evidence => "evidence",
            Self::Policy => "policy",
            Self::Collateral => "collateral",
            Self::Channel => "channel",
        })
    }
}

/// Runs every check once, in order. After a failed core check nothing counts as passed any more: what the
/// report says is then only a claim.
pub(crate) fn run<'c>(
    checks: impl Iterator<Item = &'c Check>,
    subject: &Subject<'_>,
) -> Result<Vec<CheckOutcome>, Refusal> {
    let mut tally = Tally::default();
    for check in checks {
        let finding = (check.judge)(subject).unwrap_or_else(|Unjudged(missing)| Finding::unjudged(missing));
        tally.add(check, finding);
    }
    tally.finish()
}

/// The refusal where nothing could be read: the first check failed, so no other was judged.
pub(crate) fn unreadable<'c>(mut checks: impl Iterator<Item = &'c Check>, finding: Finding) -> Refusal {
    let mut tally = Tally::default();
    let first = checks.next().map(|check| {
        tally.add(check, finding);
        check.id
    });
    checks.for_each(|check| tally.add(check, Finding::unjudged(first.unwrap_or_default())));
    match tally.finish() {
        Err(refusal) => refusal,
        Ok(checks) => Refusal::new(RefusalClass::Evidence, NOTHING_JUDGED, checks),
    }
}

/// Reason of a refusal over an empty table; no table of ours is empty.
const NOTHING_JUDGED: CheckOutcome = CheckOutcome {
    id: "nothing.judged",
    result: CheckResult::Fail,
    observed: String::new(),
    expected: String::new(),
    source: "this verifier",
    fix: "report this as a defect",
};

#[derive(Default)]
struct Tally {
    outcomes: Vec<CheckOutcome>,
    first: Option<(RefusalClass, usize)>,
    core: Option<&'static str>,
}

impl Tally {
    fn add(&mut self, check: &Check, mut finding: Finding) {
        if let (Some(core), CheckResult::Pass) = (self.core, finding.result) {
            finding.result = CheckResult::Fail;
            finding.observed = format!("{} (not judged: {core} failed)", finding.observed);
        }
        if finding.result == CheckResult::Fail {
            self.first.get_or_insert((check.class, self.outcomes.len()));
            if matches!(check.class, RefusalClass::Evidence | RefusalClass::Collateral) {
                self.core.get_or_insert(check.id);
            }
        }
        let Check { id, source, fix, .. } = *check;
        let Finding { result, observed, expected } = finding;
        self.outcomes.push(CheckOutcome { id, result, observed, expected, source, fix });
    }

    fn finish(self) -> Result<Vec<CheckOutcome>, Refusal> {
        let Some((class, index)) = self.first else {
            return Ok(self.outcomes);
        };
        let failed = self.outcomes.get(index).cloned().unwrap_or(NOTHING_JUDGED);
        Err(Refusal::new(class, failed, self.outcomes))
    }
}
