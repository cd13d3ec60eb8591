//! `cube verify --azure`: what an Azure confidential VM shows of itself.

use std::path::Path;

use azure_vtpm::{AzureEvidence, Nonce, appraise, is_hcl_report, snp_report};
use snp_evidence::{Endorsements, Evidence, EvidenceFormat};

use crate::{
    args::VerifyArgs,
    failure::Failure,
    input,
    verdict::{self, Judgement, Scope},
    yardstick::Yardstick,
};

pub(crate) fn judge(folder: &Path, args: &VerifyArgs, with: &Yardstick) -> Result<Judgement, Failure> {
    let nonce = args.nonce.as_ref().ok_or_else(|| {
        let problem = "--azure needs --nonce: the SNP report is from boot, and only a vTPM quote over your own nonce is \
                       fresh. Draw one (openssl rand -hex 32), quote with it, and give it here";
        Failure::Usage(problem.to_owned())
    })?;
    let nonce = Nonce::new(&nonce.0).map_err(|error| Failure::Usage(format!("--nonce: {error}")))?;
    let evidence = read(folder, args.certs.as_deref().unwrap_or(folder))?;
    let outcome = appraise(&evidence, &with.roots, &with.policy, &nonce, with.now);
    let simulated = with.roots.is_simulated();
    Ok(verdict::of(outcome.as_ref(), with.context(Scope::Quote, simulated)))
}

/// A paravisor's report given as a bare one would be refused for its length, which helps nobody.
pub(crate) fn is_not_meant(report: &[u8], path: &Path) -> Result<(), Failure> {
    if !is_hcl_report(report) {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::Usage(format!(
        "{path} is an Azure paravisor's report: give its folder, --azure DIR --nonce HEX"
    )))
}

fn read(folder: &Path, certs: &Path) -> Result<AzureEvidence, Failure> {
    let hcl_report = input::file(&folder.join("hcl_report.bin"))?;
    Ok(AzureEvidence {
        runtime_data: input::file_if_any(&folder.join("runtime_data.json"))?,
        quote: input::file(&folder.join("tpm_quote.msg"))?,
        signature: input::file(&folder.join("tpm_quote.sig"))?,
        pcrs: input::file_if_any(&folder.join("pcrs.json"))?,
        endorsements: endorsements(&hcl_report, certs)?,
        hcl_report,
    })
}

/// The SNP report inside says which certificate is meant.
fn endorsements(hcl_report: &[u8], certs: &Path) -> Result<Endorsements, Failure> {
    let report = snp_report(hcl_report).unwrap_or_default().to_vec();
    let bare = Evidence { format: EvidenceFormat::AmdSevSnp, report, endorsements: Endorsements::default() };
    let complete = collateral::complete(bare, Some(certs)).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(complete.endorsements)
}
