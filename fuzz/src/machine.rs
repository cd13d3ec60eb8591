//! The simulated machine that the targets sign with, and the verifier that judges it.

use std::sync::LazyLock;

use snp_evidence::{
    CheckOutcome, Endorsements, Evidence, EvidenceFormat, ExaminedReport, Policy, Purpose, Refusal,
    ReportData, Root, TrustRoots, Vek, examine,
};
use snp_simulator::SecureProcessor;

use crate::world::{Case, NOW, ROOT, TCB, chip, evidence_of, roots};

pub(crate) static MACHINE: LazyLock<Machine> = LazyLock::new(Machine::new);

pub(crate) struct Machine {
    pub(crate) processor: SecureProcessor,
    /// Accepted, with a list.
    pub(crate) genuine: Evidence,
    roots: TrustRoots,
    /// Every core check and the list, and no other rule.
    pub(crate) policy: Policy,
}

impl Machine {
    fn new() -> Self {
        let processor = ROOT.make_processor(&chip(1, TCB)).unwrap();
        let data =
            ReportData::compute(Purpose::Fresh, &Root::from_path(&[1; 48], 1, 0, &[]).unwrap(), b"", b"");
        let genuine = evidence_of(&processor, processor.report(&Case::new().guest, data.as_bytes()).unwrap());
        let text = include_str!("../../conformance/policies/cryptographic.toml");
        let text = text.replace("crl = { off = \"cryptographic verdict only\" }", "crl = \"require\"");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let machine = Self { processor, genuine, roots: roots().remembering(4), policy };
        machine.examine(&machine.genuine).unwrap();
        machine
    }

    pub(crate) fn examine(&self, evidence: &Evidence) -> Result<ExaminedReport, Refusal> {
        examine(evidence, &self.roots, &self.policy, NOW)
    }

    pub(crate) fn examine_under(
        &self,
        evidence: &Evidence,
        policy: &Policy,
    ) -> Result<ExaminedReport, Refusal> {
        examine(evidence, &self.roots, policy, NOW)
    }

    /// This report with the genuine certificates.
    pub(crate) fn evidence(&self, report: Vec<u8>) -> Evidence {
        Evidence { report, ..self.genuine.clone() }
    }

    pub(crate) fn with_vek(&self, der: Vec<u8>) -> Evidence {
        let endorsements = Endorsements { vek: Some(Vek::Vcek(der)), ..self.genuine.endorsements.clone() };
        Evidence { endorsements, ..self.genuine.clone() }
    }

    pub(crate) fn with_list(&self, der: Vec<u8>) -> Evidence {
        let endorsements = Endorsements { crl: Some(der), ..self.genuine.endorsements.clone() };
        Evidence { endorsements, ..self.genuine.clone() }
    }

    /// Whether the bytes have the structure of a report. Without certificates nothing costs anything.
    pub(crate) fn reads_report(&self, report: &[u8]) -> bool {
        let bare = Evidence {
            format: EvidenceFormat::SimulatedAmdSevSnp,
            report: report.to_vec(),
            endorsements: Endorsements::default(),
        };
        let refusal = self.examine(&bare).expect_err("accepted without a certificate");
        !objects(refusal.checks(), "report.structure")
    }
}

/// Whether this check found something wrong by itself.
pub(crate) fn objects(checks: &[CheckOutcome], id: &str) -> bool {
    checks.iter().find(|check| check.id == id).unwrap().objects()
}

/// A place that depends on the whole input, so that the fuzzer can look for another.
pub(crate) fn somewhere(data: &[u8], length: usize) -> usize {
    let hash = data.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    usize::try_from(hash % length as u64).unwrap()
}
