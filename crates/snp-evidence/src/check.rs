//! One check, its outcome, and the refusal that a failed one becomes.

use std::fmt;

use serde::Serialize;

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
    /// Stable name of the check (docs/spec/verdict.md).
    pub id: &'static str,
    /// Whose fault it is when it fails.
    pub class: RefusalClass,
    /// How it ended.
    pub result: CheckResult,
    /// What was seen.
    pub observed: String,
    /// What would have passed.
    pub expected: String,
    /// Who vouches for the observed value: `AMD`, `this verifier`, `nobody` but who sent it …
    pub source: &'static str,
    /// What to do when it fails.
    pub fix: &'static str,
    /// The failed check for whose sake this one counts as failed without an objection of its own.
    #[serde(skip)]
    pub unjudged: Option<&'static str>,
}

/// Whose fault a refusal is, and so which exit code it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalClass {
    /// What came is not in the form it has to have.
    Malformed,
    /// In form, but not genuine, not AMD's, or revoked.
    Untrusted,
    /// Genuine evidence of something the policy does not accept.
    OutOfPolicy,
    /// A list needed for judging is past its date; trying again with a newer one may help.
    Stale,
    /// A certificate or list needed for judging is missing; trying again with it may help.
    Unavailable,
    /// Genuine evidence that was not made for this channel or challenge.
    Channel,
}

impl RefusalClass {
    /// Whether a failure leaves all that follows a mere claim.
    pub fn is_core(self) -> bool {
        match self {
            Self::Malformed | Self::Untrusted | Self::Stale | Self::Unavailable => true,
            Self::OutOfPolicy | Self::Channel => false,
        }
    }
}

impl CheckOutcome {
    /// Whether this check saw for itself that something is wrong.
    pub fn objects(&self) -> bool {
        self.result == CheckResult::Fail && self.unjudged.is_none()
    }
}

/// The check without which the verdict would have been to accept: the only one of `checks` that objects, where all that
/// failed besides it was not judged for its sake. Shows what a check is for, without a verifier that lacks it.
pub fn only_objection(checks: &[CheckOutcome]) -> Option<&CheckOutcome> {
    let mut objections = checks.iter().filter(|check| check.objects());
    let only = objections.next().filter(|_| objections.next().is_none())?;
    let blamed = |check: &CheckOutcome| {
        let next = |id: &&'static str| checks.iter().find(|other| other.id == *id)?.unjudged;
        std::iter::successors(check.unjudged, next).take(checks.len()).any(|id| id == only.id)
    };
    let mut failed = checks.iter().filter(|check| check.result == CheckResult::Fail);
    failed.all(|check| check.id == only.id || blamed(check)).then_some(only)
}

/// Evidence was refused. Holds every check's outcome; the first failed one is the reason.
#[derive(Clone, Debug)]
pub struct Refusal(Box<Refused>);

#[derive(Clone, Debug)]
struct Refused {
    failed: CheckOutcome,
    checks: Vec<CheckOutcome>,
}

impl Refusal {
    fn new(failed: CheckOutcome, checks: Vec<CheckOutcome>) -> Self {
        Self(Box::new(Refused { failed, checks }))
    }

    /// Id of the first check that failed.
    pub fn reason(&self) -> &'static str {
        self.0.failed.id
    }

    /// Class of the first check that failed.
    pub fn class(&self) -> RefusalClass {
        self.0.failed.class
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

/// Runs every check once, in order. A verdict is the conjunction of all results: one that failed or could not be
/// judged refuses. After a failed core check nothing counts as passed any more: what the report says is then only
/// a claim.
pub(crate) fn run<'c>(
    checks: impl Iterator<Item = &'c Check>,
    subject: &Subject<'_>,
) -> Result<Vec<CheckOutcome>, Refusal> {
    let mut tally = Tally::default();
    checks.for_each(|check| tally.add(check, (check.judge)(subject)));
    tally.finish()
}

/// The refusal where nothing could be read: the first check failed, so no other was judged.
pub(crate) fn unreadable<'c>(mut checks: impl Iterator<Item = &'c Check>, finding: Finding) -> Refusal {
    let mut tally = Tally::default();
    let first = checks.next().map(|check| {
        tally.add(check, Ok(finding));
        check.id
    });
    checks.for_each(|check| tally.add(check, Err(Unjudged(first.unwrap_or_default()))));
    match tally.finish() {
        Err(refusal) => refusal,
        Ok(checks) => Refusal::new(NOTHING_JUDGED, checks),
    }
}

/// Reason of a refusal over an empty table; no table of ours is empty.
const NOTHING_JUDGED: CheckOutcome = CheckOutcome {
    id: "nothing.judged",
    class: RefusalClass::Malformed,
    result: CheckResult::Fail,
    observed: String::new(),
    expected: String::new(),
    source: "this verifier",
    fix: "report this as a defect",
    unjudged: None,
};

#[derive(Default)]
struct Tally {
    outcomes: Vec<CheckOutcome>,
    first: Option<usize>,
    core: Option<&'static str>,
}

impl Tally {
    fn add(&mut self, check: &Check, judged: Judged) {
        let (mut finding, mut unjudged) = match judged {
            Ok(finding) => (finding, None),
            Err(Unjudged(missing)) => {
                (Finding::of(false, format!("not judged: {missing} failed"), ""), Some(missing))
            }
        };
        if let (Some(core), CheckResult::Pass) = (self.core, finding.result) {
            finding.result = CheckResult::Fail;
            finding.observed = format!("{} (not judged: {core} failed)", finding.observed);
            unjudged = Some(core);
        }
        if finding.result == CheckResult::Fail {
            self.first.get_or_insert(self.outcomes.len());
            if check.class.is_core() {
                self.core.get_or_insert(check.id);
            }
        }
        let Check { id, class, source, fix, .. } = *check;
        let Finding { result, observed, expected } = finding;
        self.outcomes.push(CheckOutcome { id, class, result, observed, expected, source, fix, unjudged });
    }

    fn finish(self) -> Result<Vec<CheckOutcome>, Refusal> {
        let Some(index) = self.first else {
            return Ok(self.outcomes);
        };
        let failed = self.outcomes.get(index).cloned().unwrap_or(NOTHING_JUDGED);
        Err(Refusal::new(failed, self.outcomes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [RefusalClass; 3] =
        [RefusalClass::Untrusted, RefusalClass::OutOfPolicy, RefusalClass::Channel];

    fn check(id: &'static str, class: RefusalClass) -> Check {
        Check { id, class, source: "", fix: "", judge: |_| Err(Unjudged("never called")) }
    }

    fn judged(how: usize) -> Judged {
        match how {
            0 => Ok(Finding::of(true, "", "")),
            1 => Ok(Finding::not_required("", "")),
            2 => Ok(Finding::of(false, "", "")),
            _ => Err(Unjudged("a")),
        }
    }

    /// All outcomes of three checks of every class: whatever is neither passed nor left out refuses, and the first
    /// such check is the reason.
    #[test]
    fn a_verdict_is_the_conjunction_of_its_outcomes() {
        for number in 0..64 * 27 {
            let hows = [number % 4, number / 4 % 4, number / 16 % 4];
            let classes = [number / 64 % 3, number / 192 % 3, number / 576 % 3].map(|kind| KINDS[kind]);
            let mut tally = Tally::default();
            for ((id, how), class) in ["a", "b", "c"].into_iter().zip(hows).zip(classes) {
                tally.add(&check(id, class), judged(how));
            }
            let first = hows.iter().position(|how| *how > 1);
            match (tally.finish(), first) {
                (Ok(_), None) => {}
                (Err(refusal), Some(first)) => {
                    assert_eq!(refusal.reason(), ["a", "b", "c"][first]);
                    assert_eq!(refusal.class(), classes[first]);
                    let objecting = refusal.checks().iter().map(CheckOutcome::objects);
                    assert!(objecting.eq(hows.iter().map(|how| *how == 2)), "{hows:?}");
                }
                (verdict, _) => panic!("{hows:?}: {verdict:?}"),
            }
        }
    }
}
