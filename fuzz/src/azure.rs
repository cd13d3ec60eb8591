//! The simulated Azure guest, and the verifier that judges it.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use azure_vtpm::{AzureEvidence, Nonce, VerifiedQuote, appraise};
use snp_evidence::{Policy, TrustRoots};
use snp_simulator::Guest;

use crate::guest::{CHIP, Case, NONCE, NOW, roots};

pub(crate) static AZURE: LazyLock<Azure> = LazyLock::new(Azure::new);

/// Where the SNP report stands in a paravisor's report.
const REPORT: std::ops::Range<usize> = 0x20..0x4C0;

pub(crate) struct Azure {
    /// Accepted, with nothing beside it that could be left out.
    pub(crate) genuine: AzureEvidence,
    roots: TrustRoots,
    policy: Policy,
    nonce: Nonce,
}

impl Azure {
    fn new() -> Self {
        let mut case = Case::new();
        case.evidence = |e| (e.pcrs, e.runtime_data) = (None, None);
        let policy = Policy::parse(case.policy.as_bytes()).unwrap();
        let (genuine, roots) = (case.make(), roots().remembering(4));
        let azure = Self { genuine, roots, policy, nonce: Nonce::new(NONCE).unwrap() };
        azure.judge(&azure.genuine).unwrap();
        azure
    }

    pub(crate) fn judge(&self, evidence: &AzureEvidence) -> Result<VerifiedQuote, azure_vtpm::Refusal> {
        appraise(evidence, &self.roots, &self.policy, &self.nonce, NOW)
    }

    /// The genuine evidence but for the paravisor's report.
    pub(crate) fn with_hcl(&self, hcl_report: Vec<u8>) -> AzureEvidence {
        AzureEvidence { hcl_report, ..self.genuine.clone() }
    }
}

/// The paravisor's report with an SNP report over just its runtime data; nothing where it has no room for both.
pub(crate) fn vouched(hcl: &[u8]) -> Option<Vec<u8>> {
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(digest(&SHA256, runtime_data(hcl)?).as_ref());
    let mut hcl = hcl.to_vec();
    hcl[REPORT].copy_from_slice(&CHIP.report(&Guest::default(), &report_data).unwrap());
    Some(hcl)
}

/// The runtime data where versions 1 and 2 of the layout have them.
pub(crate) fn runtime_data(hcl: &[u8]) -> Option<&[u8]> {
    let start = runtime_start(hcl)?;
    hcl.get(start..start.checked_add(word(hcl, 0x4D0)?)?)
}

pub(crate) fn runtime_start(hcl: &[u8]) -> Option<usize> {
    Some(if word(hcl, 0x4C4)? == 2 { 0x4D8 } else { 0x4D4 })
}

pub(crate) fn word(hcl: &[u8], at: usize) -> Option<usize> {
    let bytes = hcl.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().unwrap()) as usize)
}
