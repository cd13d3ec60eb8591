//! Pure verification of what an Azure confidential VM on SEV-SNP shows of itself.
//!
//! On Azure the guest never talks to the secure processor: a paravisor below it (Microsoft's HCL, in the open form
//! OpenHCL) does so once at boot. It has a report signed over its *runtime data*, a JSON text with the public key of
//! its virtual TPM, and the guest gets fresh statements from that TPM only. So the chain is
//!
//! ```text
//! AMD ──► SNP report ──report_data──► runtime data ──HCLAkPub──► vTPM quote ──extraData──► the verifier's nonce
//! ```
//!
//! and every arrow is a check. Bytes, trust roots, a policy, the verifier's own nonce and *now* come in; a value
//! that only this crate can build, or a refusal naming the first failed check, comes out. The SNP report is judged
//! by `snp-evidence`, whose checks are part of the verdict.
//!
//! Reading order: [`appraise`] → `checks.rs` (every check, in order) → `hcl.rs`, `runtime_data.rs`, `quote.rs`,
//! `pcrs.rs` (what the checks look at). What the chain proves and what not: docs/spec/azure.md.
//!
//! Nobody outside can make a verdict, and no nonce is empty:
//!
//! ```
//! use azure_vtpm::{Nonce, VerifiedQuote};
//! ```
//! ```compile_fail,E0451
//! fn forge(report: snp_evidence::ExaminedReport, other: azure_vtpm::VerifiedQuote) -> azure_vtpm::VerifiedQuote {
//!     azure_vtpm::VerifiedQuote { report, ..other }
//! }
//! ```
//! ```compile_fail,E0423
//! fn forge() -> azure_vtpm::Nonce {
//!     azure_vtpm::Nonce(Vec::new())
//! }
//! ```
#![forbid(unsafe_code)]

mod appraise;
mod check;
mod checks;
mod evidence;
mod hcl;
mod object;
mod pcrs;
mod quote;
mod reader;
mod runtime_data;

pub use appraise::{VerifiedQuote, appraise};
pub use check::Refusal;
pub use evidence::{AzureEvidence, Nonce, NonceError};
pub use hcl::{is_hcl_report, snp_report};
pub use runtime_data::RuntimeData;
