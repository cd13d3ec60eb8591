//! Verdicts, their exit codes and their JSON form.

mod outcome;

use attested_client::Error as ClientError;
use outcome::{Accepted, Refused};
use serde::{Serialize, Serializer};
use snp_evidence::{CheckOutcome, CheckResult, RefusalClass, ReportFacts};

use crate::exit::Exit;

/// The check that decides between `trusted` and `genuine`.
const MEASUREMENT: &str = "measurement";

/// What is said of the evidence in one word. "Trusted" is said of nothing less
/// than core checks, measurement and channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Trusted,
    Genuine,
    Simulated,
    Refused,
    Unavailable,
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Genuine => "genuine",
            Self::Simulated => "simulated",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What the evidence was taken from, and so how much a verdict can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// A live connection of this process.
    Connection,
    /// A saved bundle, with the saver's nonce and exporter or key.
    Bundle,
    /// A bare report: neither freshness nor channel.
    Report,
    /// A vTPM quote over the user's nonce: fresh, bound to no channel.
    Quote,
}

/// The outcome of a command that judges.
#[derive(Debug, Serialize)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// Id of the first failed check.
    pub(crate) reason: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) checks: Vec<Row>,
    pub(crate) report: Option<Report>,
    /// The report is bound to the server's key, not to the connection.
    #[serde(skip)]
    pub(crate) spki_only: bool,
    #[serde(skip)]
    exit: Exit,
}

/// One check, as `snp-evidence` or this command saw it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) result: CheckResult,
    /// It failed for an earlier check's sake, and says nothing of its own.
    #[serde(skip)]
    pub(crate) unjudged: bool,
    pub(crate) observed: String,
    pub(crate) expected: String,
    pub(crate) source: String,
    pub(crate) fix: String,
}

/// The values of a report whose core checks passed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) product: String,
    pub(crate) version: u32,
    #[serde(serialize_with = "hexadecimal")]
    pub(crate) measurement: Vec<u8>,
    #[serde(serialize_with = "hexadecimal")]
    host_data: Vec<u8>,
    #[serde(serialize_with = "hexadecimal")]
    chip_id: Vec<u8>,
    #[serde(rename = "report_data", serialize_with = "hexadecimal")]
    data: Vec<u8>,
    vmpl: u32,
    reported_tcb: String,
    debug_allowed: bool,
    simulated: bool,
    #[serde(serialize_with = "hexadecimal")]
    sha256: Vec<u8>,
}

/// Who asked for the judgement, and with what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) scope: Scope,
    /// The evidence says of itself that it is simulated.
    pub(crate) simulated: bool,
    /// `--allow-simulated` was given.
    pub(crate) simulated_allowed: bool,
    /// `--policy` was given.
    pub(crate) policy_given: bool,
}

/// The judgement of what `snp-evidence` decided.
pub(crate) fn of(outcome: Result<&impl Accepted, &impl Refused>, context: Context) -> Judgement {
    match outcome {
        // Without the root nothing of a simulator can be judged, so no other reason says more.
        Err(refusal) if context.simulated && !context.simulated_allowed => {
            Judgement { verdict: Verdict::Simulated, exit: Exit::Simulated, ..refused(refusal, context) }
        }
        Err(refusal) if context.policy_given || refusal.class() != RefusalClass::OutOfPolicy => {
            refused(refusal, context)
        }
        Err(refusal) => without_policy(refusal.checks(), None, context),
        Ok(accepted) if !context.policy_given => {
            without_policy(accepted.checks(), Some(accepted.facts()), context)
        }
        Ok(accepted) => passed(accepted, context),
    }
}

/// The judgement where there is no evidence to judge.
pub(crate) fn of_client_error(error: &ClientError) -> Judgement {
    let (verdict, id, exit) = match error {
        ClientError::Unreachable { .. } => (Verdict::Unavailable, "gateway.reachable", Exit::Unavailable),
        ClientError::NoEvidence { .. } => (Verdict::Unavailable, "gateway.evidence", Exit::Unavailable),
        ClientError::Certificate { .. } => (Verdict::Refused, "channel.certificate", Exit::Channel),
        ClientError::Random => (Verdict::Unavailable, "client.random", Exit::Unavailable),
        // A refusal of evidence has a judgement of its own; what is new and unknown is refused.
        ClientError::Protocol { .. } | ClientError::NotTrusted(_) | _ => {
            (Verdict::Refused, "gateway.protocol", Exit::Evidence)
        }
    };
    let row = Row {
        id: id.to_owned(),
        result: CheckResult::Fail,
        unjudged: false,
        observed: error.to_string(),
        expected: "evidence for this connection".to_owned(),
        source: "this connection".to_owned(),
        fix: fix_of(error).to_owned(),
    };
    let reason = Some(id.to_owned());
    Judgement {
        verdict,
        reason,
        scope: Scope::Connection,
        checks: vec![row],
        report: None,
        spki_only: false,
        exit,
    }
}

fn fix_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::Unreachable { .. } => {
            "check address and network; the port opens only once the CVM is attested"
        }
        ClientError::NoEvidence { .. } => {
            "retry; if it lasts, look at the gateway's and attestation-svc's logs"
        }
        ClientError::Certificate { .. } => {
            "give the CA that issued the gateway's certificate, or leave --ca out for the CVM's own CA"
        }
        ClientError::Random => "look at the random source of this machine",
        ClientError::Protocol { .. } | ClientError::NotTrusted(_) | _ => {
            "send nothing there: this is no Cube gateway, or something sits in between"
        }
    }
}

impl Judgement {
    /// More checks of what was accepted; one that fails refuses.
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        if let Some(failed) = rows.iter().find(|row| row.objects()) {
            (self.verdict, self.exit) = (Verdict::Refused, Exit::Policy);
            self.reason = Some(failed.id.clone());
        }
        self.checks.extend(rows);
    }
}

impl Row {
    /// Whether this check saw for itself that something is wrong.
    pub(crate) fn objects(&self) -> bool {
        self.result == CheckResult::Fail && !self.unjudged
    }
}

impl Judgement {
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit as u8
    }
}

fn passed(accepted: &impl Accepted, context: Context) -> Judgement {
    let facts = accepted.facts();
    let measured = facts.checks().iter().any(|c| c.id == MEASUREMENT && c.result == CheckResult::Pass);
    let (verdict, exit) = match (facts.simulated(), context.scope) {
        (true, _) if context.simulated_allowed => (Verdict::Simulated, Exit::Trusted),
        (true, _) => (Verdict::Simulated, Exit::Simulated),
        (false, Scope::Connection | Scope::Bundle) if measured => (Verdict::Trusted, Exit::Trusted),
        (false, _) => (Verdict::Genuine, Exit::Genuine),
    };
    let (checks, report) = (rows(accepted.checks(), context), Some(Report::of(facts)));
    Judgement { verdict, reason: None, scope: context.scope, checks, report, spki_only: false, exit }
}

fn refused(refusal: &impl Refused, context: Context) -> Judgement {
    let (verdict, exit) = match refusal.class() {
        RefusalClass::Malformed | RefusalClass::Untrusted => (Verdict::Refused, Exit::Evidence),
        RefusalClass::OutOfPolicy => (Verdict::Refused, Exit::Policy),
        RefusalClass::Channel => (Verdict::Refused, Exit::Channel),
        RefusalClass::Stale | RefusalClass::Unavailable => (Verdict::Unavailable, Exit::Collateral),
    };
    let (reason, checks) = (Some(refusal.reason().to_owned()), rows(refusal.checks(), context));
    Judgement { verdict, reason, scope: context.scope, checks, report: None, spki_only: false, exit }
}

/// Core and channel hold; whether that is the right software only a policy can say.
fn without_policy(checks: &[CheckOutcome], facts: Option<&ReportFacts>, context: Context) -> Judgement {
    let absent = Row {
        id: POLICY_ABSENT.to_owned(),
        result: CheckResult::Fail,
        unjudged: false,
        observed: "no policy was given".to_owned(),
        expected: "--policy FILE".to_owned(),
        source: "policy".to_owned(),
        fix: "write one with `cube policy new`, which begins with the observed values; check these first"
            .to_owned(),
    };
    let mut checks = rows(checks, context);
    checks.push(absent);
    let (reason, report) = (Some(POLICY_ABSENT.to_owned()), facts.map(Report::of));
    Judgement {
        verdict: Verdict::Refused,
        reason,
        scope: context.scope,
        checks,
        report,
        spki_only: false,
        exit: Exit::Policy,
    }
}

const POLICY_ABSENT: &str = "policy.absent";

/// Where a simulator stands in for AMD, nobody may read that AMD vouches.
fn rows(checks: &[CheckOutcome], context: Context) -> Vec<Row> {
    let simulated = context.simulated || context.simulated_allowed;
    let source = |source| if simulated && source == "AMD" { "a simulator" } else { source };
    let row = |check: &CheckOutcome| Row {
        id: check.id.to_owned(),
        result: check.result,
        unjudged: check.unjudged.is_some(),
        observed: check.observed.clone(),
        expected: check.expected.clone(),
        source: source(check.source).to_owned(),
        fix: check.fix.to_owned(),
    };
    checks.iter().map(row).collect()
}

impl Report {
    fn of(facts: &ReportFacts) -> Self {
        Self {
            product: facts.product().to_string(),
            version: facts.version(),
            measurement: facts.measurement().to_vec(),
            host_data: facts.host_data().to_vec(),
            chip_id: facts.chip_id().to_vec(),
            data: facts.report_data().to_vec(),
            vmpl: facts.vmpl(),
            reported_tcb: facts.reported_tcb().to_string(),
            debug_allowed: facts.debug_allowed(),
            simulated: facts.simulated(),
            sha256: facts.report_sha256().to_vec(),
        }
    }
}

fn hexadecimal<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(bytes))
}

#[cfg(test)]
mod tests;
