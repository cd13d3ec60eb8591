//! Every check of Azure's own, in the order in which a verdict lists them; the SNP report's stand between the two
//! tables. The first that fails is the reason. None has an off switch.
#![expect(clippy::unnecessary_wraps, reason = "every check has one shape, so that the table can hold it")]

use std::collections::BTreeMap;

use snp_evidence::RefusalClass::{self, Channel, Malformed, Untrusted};

use crate::{
    check::{Check, Finding, Judged, Unjudged},
    evidence::{AzureEvidence, Nonce},
    hcl::HclReport,
    object::JsonError,
    pcrs::PcrValues,
    quote::{self, Quote},
    reader::Short,
    runtime_data::RuntimeData,
};

/// Around the SNP report: is this a paravisor's report, and what does it commit to?
#[rustfmt::skip]
pub(crate) const PARAVISOR: &[Check] = &[
    check(Malformed, "azure.hcl", NOBODY, hcl, "collect vTPM NV index 0x01400001 anew, and send it unchanged"),
    check(Untrusted, "azure.report_type", NOBODY, report_type, "this verifier judges SEV-SNP guests: TDX and trusted launch need another"),
    check(Malformed, "azure.runtime_data", HCL, runtime_data, "collect hcl_report.bin anew: it has to name the vTPM's key"),
    check(Untrusted, "azure.runtime_data_copy", NOBODY, runtime_data_copy, "leave the copy out, or send the one that belongs to hcl_report.bin"),
    check(Untrusted, "azure.vmpl", AMD, vmpl, "the guest asked for the report, not its paravisor, so that the runtime data may say anything"),
];

/// After the SNP report: did its vTPM answer this challenge?
#[rustfmt::skip]
pub(crate) const QUOTE: &[Check] = &[
    check(Malformed, "azure.quote", NOBODY, structure, "send the TPMS_ATTEST unchanged as TPM2_Quote returned it"),
    check(Untrusted, "azure.quote_type", VTPM, quote_type, "quote with TPM2_Quote; other attestations and self-made data do not count"),
    check(Untrusted, "azure.quote_signature", HCL, signature, "quote with the vTPM's own key, handle 0x81000003, RSASSA and SHA-256"),
    check(Channel, "azure.nonce", VTPM, nonce, "the quote is replayed or was made for nobody; quote again over a fresh nonce"),
    check(Untrusted, "azure.pcr_selection", VTPM, pcr_selection, "quote PCRs of the SHA-256 bank, and only of that"),
    check(Untrusted, "azure.pcr_values", VTPM, pcr_values, "send the PCR values of the moment of the quote, or leave them out"),
];

const AMD: &str = "AMD";
const HCL: &str = "the paravisor";
const VTPM: &str = "the vTPM";
const NOBODY: &str = "nobody";

/// `IgvmAttestReportType`: SNP.
const SNP_REPORT: u32 = 2;
/// `IgvmAttestHashType`: SHA-256.
const SHA256_HASH: u32 = 1;

/// What the checks look at: everything parsed once, nothing judged.
pub(crate) struct Subject<'a> {
    pub(crate) evidence: &'a AzureEvidence,
    nonce: &'a Nonce,
    pub(crate) hcl: Result<HclReport<'a>, Short>,
    /// `None` without a paravisor's report.
    pub(crate) runtime_data: Option<Result<RuntimeData, JsonError>>,
    quote: Result<Quote<'a>, Short>,
    pcrs: Option<Result<PcrValues, JsonError>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(evidence: &'a AzureEvidence, nonce: &'a Nonce) -> Self {
        let hcl = HclReport::parse(&evidence.hcl_report);
        Self {
            runtime_data: hcl.as_ref().ok().map(|hcl| RuntimeData::parse(hcl.runtime_data)),
            hcl,
            quote: Quote::parse(&evidence.quote),
            pcrs: evidence.pcrs.as_deref().map(PcrValues::parse),
            evidence,
            nonce,
        }
    }

    fn hcl(&self) -> Result<&HclReport<'a>, Unjudged> {
        self.hcl.as_ref().map_err(|_| Unjudged("azure.hcl"))
    }

    fn quote(&self) -> Result<&Quote<'a>, Unjudged> {
        self.quote.as_ref().map_err(|_| Unjudged("azure.quote"))
    }

    fn claims(&self) -> Result<&RuntimeData, Unjudged> {
        self.runtime_data.as_ref().and_then(|data| data.as_ref().ok()).ok_or(Unjudged("azure.runtime_data"))
    }

    /// The PCR values that the quote is over, once the checks have passed; empty where none came along.
    pub(crate) fn quoted_pcrs(&self) -> BTreeMap<usize, [u8; 32]> {
        let quoted = self.quote.as_ref().ok().and_then(Quote::pcrs).unwrap_or_default();
        match &self.pcrs {
            Some(Ok(values)) => values.of(&quoted),
            Some(Err(_)) | None => BTreeMap::new(),
        }
    }
}

fn hcl(s: &Subject<'_>) -> Judged {
    let expected = "a paravisor's report, whole and zero after its end";
    Ok(match &s.hcl {
        Err(short) => Finding::of(false, short, expected),
        Ok(report) => match report.flaw() {
            Some(flaw) => Finding::of(false, flaw, expected),
            None => Finding::of(true, format_args!("version {}", report.version()), expected),
        },
    })
}

fn report_type(s: &Subject<'_>) -> Judged {
    let hcl = s.hcl()?;
    let kind = match hcl.report_type {
        SNP_REPORT => "SNP".to_owned(),
        1 => "VBS".to_owned(),
        3 => "trusted launch".to_owned(),
        4 => "TDX".to_owned(),
        other => format!("type {other}"),
    };
    let met = hcl.report_type == SNP_REPORT && hcl.hash_type == SHA256_HASH;
    Ok(Finding::of(met, format_args!("{kind}, hash type {}", hcl.hash_type), "SNP, hash type 1 (SHA-256)"))
}

fn runtime_data(s: &Subject<'_>) -> Judged {
    let expected = "strict JSON with one key HCLAkPub";
    Ok(match s.runtime_data.as_ref().ok_or(Unjudged("azure.hcl"))? {
        Err(error) => Finding::of(false, error, expected),
        Ok(data) => {
            let secure_boot = if data.secure_boot() { "on" } else { "off" };
            let vm = data.vm_unique_id();
            let observed =
                format!("{} such, RSA-{}, secure boot {secure_boot}, VM {vm}", data.aks, 8 * data.ak.size());
            Finding::of(data.aks == 1, observed, expected)
        }
    })
}

fn runtime_data_copy(s: &Subject<'_>) -> Judged {
    let own = s.hcl()?.runtime_data;
    Ok(match &s.evidence.runtime_data {
        None => Finding::not_required("none", "none came beside the report"),
        Some(copy) if copy == own => Finding::of(true, "the same", "the runtime data of the report"),
        Some(copy) => {
            Finding::of(false, format_args!("{} other bytes", copy.len()), "the runtime data of the report")
        }
    })
}

/// The paravisor alone runs at VMPL 0. A report of any other level commits to what the guest likes.
fn vmpl(s: &Subject<'_>) -> Judged {
    let vmpl = s.hcl()?.vmpl().ok_or(Unjudged("azure.hcl"))?;
    Ok(Finding::of(vmpl == 0, vmpl, 0))
}

fn structure(s: &Subject<'_>) -> Judged {
    let expected = "one TPMS_ATTEST";
    Ok(match &s.quote {
        Err(short) => Finding::of(false, short, expected),
        Ok(quote) if quote.rest.is_empty() => Finding::of(true, expected, expected),
        Ok(quote) => Finding::of(false, format_args!("{} bytes behind it", quote.rest.len()), expected),
    })
}

fn quote_type(s: &Subject<'_>) -> Judged {
    let quote = s.quote()?;
    let observed = format!("magic {:#010x}, type {:#06x}", quote.magic, quote.kind);
    Ok(Finding::of(quote.is_quote(), observed, "magic 0xff544347, type 0x8018: written by a TPM, a quote"))
}

/// Over the bytes as received.
fn signature(s: &Subject<'_>) -> Judged {
    let (quote, ak) = (s.quote()?, &s.claims()?.ak);
    let signature = quote::bare_signature(&s.evidence.signature, ak.size());
    let met = signature.is_some_and(|signature| ak.verifies(quote.message, signature));
    Ok(Finding::of(met, if met { "valid" } else { "not valid" }, "RSASSA-SHA256, valid under HCLAkPub"))
}

fn nonce(s: &Subject<'_>) -> Judged {
    let found = s.quote()?.extra_data;
    let observed = if found.is_empty() { "none".to_owned() } else { hex::encode(found) };
    Ok(Finding::of(found == s.nonce.as_bytes(), observed, hex::encode(s.nonce.as_bytes())))
}

fn pcr_selection(s: &Subject<'_>) -> Judged {
    let quote = s.quote()?;
    let expected = "PCRs of the SHA-256 bank, one at least";
    Ok(match quote.pcrs() {
        Some(pcrs) => Finding::of(true, format_args!("{} of 24", pcrs.len()), expected),
        None => Finding::of(false, quote.selection(), expected),
    })
}

fn pcr_values(s: &Subject<'_>) -> Judged {
    let quoted = hex::encode(s.quote()?.pcr_digest);
    Ok(match &s.pcrs {
        None => Finding::not_required(format_args!("digest {quoted}"), "no PCR values came along"),
        Some(Err(error)) => Finding::of(false, error, "24 PCR values"),
        Some(Ok(values)) => {
            let selected = s.quote()?.pcrs().ok_or(Unjudged("azure.pcr_selection"))?;
            let digest = hex::encode(values.digest_of(&selected));
            Finding::of(digest == quoted, format_args!("digest {digest}"), format_args!("digest {quoted}"))
        }
    })
}

const fn check(
    class: RefusalClass,
    id: &'static str,
    source: &'static str,
    judge: fn(&Subject<'_>) -> Judged,
    fix: &'static str,
) -> Check {
    Check { id, class, source, fix, judge }
}
