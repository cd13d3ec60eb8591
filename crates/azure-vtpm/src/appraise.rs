//! The entry point.

use std::collections::BTreeMap;

use snp_evidence::{
    CheckOutcome, Evidence, EvidenceFormat, ExaminedReport, Policy, RefusalClass, TrustRoots, UnixTime,
    examine_vouching,
};

use crate::{
    check::{Refusal, Tally},
    checks::{PARAVISOR, QUOTE, Subject},
    evidence::{AzureEvidence, Nonce},
    runtime_data::RuntimeData,
};

/// A quote over the verifier's nonce by a vTPM whose key a genuine SNP report vouches for. Says of the paravisor what
/// the policy says of the report, and of the guest's software nothing: see docs/spec/azure.md. Only [`appraise`] makes
/// one.
#[derive(Debug)]
pub struct VerifiedQuote {
    report: ExaminedReport,
    runtime_data: RuntimeData,
    pcrs: BTreeMap<usize, [u8; 32]>,
    checks: Vec<CheckOutcome>,
}

/// Judges Azure evidence: the SNP report under roots and policy, with `report_data` equal to SHA-256 of the runtime
/// data and then zeros, whatever the policy says of it; the quote under the runtime data's key, over `nonce`.
pub fn appraise(
    evidence: &AzureEvidence,
    roots: &TrustRoots,
    policy: &Policy,
    nonce: &Nonce,
    now: UnixTime,
) -> Result<VerifiedQuote, Refusal> {
    let subject = Subject::new(evidence, nonce);
    let mut tally = Tally::default();
    for check in PARAVISOR {
        tally.run(check, &subject);
    }
    let examined = examine_report(&subject, roots, policy, now);
    match &examined {
        Ok(report) => tally.add_report(report.checks().iter().map(own_words)),
        Err(refusal) => tally.add_report(refusal.checks().iter().map(own_words)),
    }
    for check in QUOTE {
        tally.run(check, &subject);
    }
    let pcrs = subject.quoted_pcrs();
    let checks = tally.finish()?;
    match (examined, subject.runtime_data) {
        (Ok(report), Some(Ok(runtime_data))) => Ok(VerifiedQuote { report, runtime_data, pcrs, checks }),
        // Both have checks of their own, so this is out of reach; it refuses all the same.
        _ => Err(Refusal::defect(checks)),
    }
}

/// The SNP report inside. One that cannot be found is judged as the empty one, so that every verdict lists all checks.
fn examine_report(
    subject: &Subject<'_>,
    roots: &TrustRoots,
    policy: &Policy,
    now: UnixTime,
) -> Result<ExaminedReport, snp_evidence::Refusal> {
    let (report, runtime_data) = match &subject.hcl {
        Ok(hcl) => (hcl.snp_report, hcl.runtime_data),
        Err(_) => (&[][..], &[][..]),
    };
    // A bare report does not say what made it: the roots it is judged under do.
    let format =
        if roots.is_simulated() { EvidenceFormat::SimulatedAmdSevSnp } else { EvidenceFormat::AmdSevSnp };
    let endorsements = subject.evidence.endorsements.clone();
    let evidence = Evidence { format, report: report.to_vec(), endorsements };
    examine_vouching(&evidence, roots, policy, runtime_data, now)
}

/// On Azure it is the runtime data that `report_data` stands for, not a challenge: a matter of the evidence, and not
/// of the channel.
fn own_words(row: &CheckOutcome) -> CheckOutcome {
    let row = row.clone();
    if row.id != "report_data" {
        return row;
    }
    let fix =
        "the runtime data are not those of this report: collect hcl_report.bin anew, and suspect the guest";
    CheckOutcome { class: RefusalClass::Untrusted, fix, ..row }
}

impl VerifiedQuote {
    /// The SNP report, made at boot.
    pub fn report(&self) -> &ExaminedReport {
        &self.report
    }

    /// The paravisor's claims.
    pub fn runtime_data(&self) -> &RuntimeData {
        &self.runtime_data
    }

    /// The PCR values of the SHA-256 bank that the quote is over; empty where none came along.
    pub fn pcrs(&self) -> &BTreeMap<usize, [u8; 32]> {
        &self.pcrs
    }

    /// Every check, in order; none failed.
    pub fn checks(&self) -> &[CheckOutcome] {
        &self.checks
    }
}
