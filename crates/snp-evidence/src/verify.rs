//! The entry points for a single report.

use std::{fmt, ops::Deref};

use crate::{
    check::{self, CheckOutcome, Refusal},
    checks::{self, Expected, Subject},
    digest::sha256,
    evidence::{Evidence, EvidenceFormat},
    policy::Policy,
    product::Product,
    report::Report,
    report_data::ReportData,
    roots::TrustRoots,
    time::UnixTime,
};

/// A report that passed every core check, the policy, and carries the `report_data` we asked for.
/// Only [`verify`] and [`crate::appraise`] make one.
#[derive(Debug)]
pub struct VerifiedReport(ReportFacts);

/// A stored report that passed the core checks and the policy. It proves neither freshness nor a channel,
/// so that nothing may be served on the strength of it. Only [`examine`] and
/// [`examine_vouching`] make one.
#[derive(Debug)]
pub struct ExaminedReport(ReportFacts);

/// What a judged report says, and every check that it passed. Names in capitals are fields of `ATTESTATION_REPORT`
/// (AMD 56860, 7.3).
#[derive(Debug)]
pub struct ReportFacts {
    report: Report,
    product: Product,
    simulated: bool,
    report_sha256: [u8; 32],
    checks: Vec<CheckOutcome>,
}

/// Judges live evidence: all core checks, the policy, and `report_data` equal to `expected`, which a policy
/// cannot switch off here.
pub fn verify(
    evidence: &Evidence,
    roots: &TrustRoots,
    policy: &Policy,
    expected: &ReportData,
    now: UnixTime,
) -> Result<VerifiedReport, Refusal> {
    judge(&Subject::new(evidence, roots, policy, Expected::Exactly(*expected), now), checks::report())
        .map(VerifiedReport)
}

/// Judges stored evidence, without freshness or channel; for client tools only.
pub fn examine(
    evidence: &Evidence,
    roots: &TrustRoots,
    policy: &Policy,
    now: UnixTime,
) -> Result<ExaminedReport, Refusal> {
    judge(&Subject::new(evidence, roots, policy, Expected::Stored, now), checks::report()).map(ExaminedReport)
}

/// As [`examine`], and `report_data` has to be SHA-256 of `vouched` and then zeros, whatever the policy says of it: a
/// paravisor commits so to data of its own. Freshness and channel are the caller's to judge.
pub fn examine_vouching(
    evidence: &Evidence,
    roots: &TrustRoots,
    policy: &Policy,
    vouched: &[u8],
    now: UnixTime,
) -> Result<ExaminedReport, Refusal> {
    let expected = ReportData::of_sha256(&sha256(vouched));
    judge(&Subject::new(evidence, roots, policy, Expected::Exactly(expected), now), checks::report())
        .map(ExaminedReport)
}

/// Runs `checks` and gathers the facts; shared with `appraise`, which adds checks of its own.
pub(crate) fn judge<'c>(
    subject: &Subject<'_>,
    checks: impl Iterator<Item = &'c check::Check> + Clone,
) -> Result<ReportFacts, Refusal> {
    let passed = check::run(checks.clone(), subject)?;
    match (&subject.report, subject.product()) {
        (Ok(report), Ok(product)) => Ok(ReportFacts {
            report: report.clone(),
            product,
            simulated: subject.evidence.format == EvidenceFormat::SimulatedAmdSevSnp,
            report_sha256: sha256(&subject.evidence.report),
            checks: passed,
        }),
        // Both have a core check of their own, so this arm is out of reach; it refuses all the same.
        (Err(_), _) | (_, Err(_)) => {
            Err(check::unreadable(checks, check::Finding::of(false, "nothing", "a report")))
        }
    }
}

impl VerifiedReport {
    pub(crate) fn new(facts: ReportFacts) -> Self {
        Self(facts)
    }
}

impl Deref for VerifiedReport {
    type Target = ReportFacts;

    fn deref(&self) -> &ReportFacts {
        &self.0
    }
}

impl Deref for ExaminedReport {
    type Target = ReportFacts;

    fn deref(&self) -> &ReportFacts {
        &self.0
    }
}

impl ReportFacts {
    /// `MEASUREMENT`, the launch digest, SHA-384.
    pub fn measurement(&self) -> &[u8; 48] {
        &self.report.measurement
    }

    /// `HOST_DATA`, given by the host at launch.
    pub fn host_data(&self) -> &[u8; 32] {
        &self.report.host_data
    }

    /// `REPORT_DATA`, given by the guest with the request.
    pub fn report_data(&self) -> &[u8; 64] {
        &self.report.report_data
    }

    /// `CHIP_ID`: 64 bytes, or 8 on Turin; zero if the host masks it (VLEK only).
    pub fn chip_id(&self) -> &[u8] {
        self.report.chip_id_of(self.product)
    }

    /// Product line, from `CPUID_FAM_ID` and `CPUID_MOD_ID`; in version 2 from the VEK's issuer.
    pub fn product(&self) -> Product {
        self.product
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// `VERSION`, 2 to 5.
    pub fn version(&self) -> u32 {
        self.report.version
    }

    /// `VMPL` the report was asked for at; ffffffffh if the host asked.
    pub fn vmpl(&self) -> u32 {
        self.report.vmpl
    }

    /// `REPORTED_TCB`, which the signing key is derived from, in the product's own layout (56860, 2.2, `TCB_VERSION`).
    pub fn reported_tcb(&self) -> impl fmt::Display + use<> {
        self.report.reported_tcb.of(self.product)
    }

    /// Whether the host may debug the guest: bit 19 of `POLICY` (56860, 4.3, guest policy).
    pub fn debug_allowed(&self) -> bool {
        self.report.policy.debug()
    }

    /// Whether the simulator made it.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// Every check, in order; none failed.
    pub fn checks(&self) -> &[CheckOutcome] {
        &self.checks
    }

    /// SHA-256 of the report as received. Not an identity: ECDSA signatures can be restated by anybody.
    pub fn report_sha256(&self) -> [u8; 32] {
        self.report_sha256
    }
}
