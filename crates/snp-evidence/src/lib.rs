//! Pure verification of AMD SEV-SNP evidence and of what it vouches for.
//!
//! Bytes, trust roots, a policy, the expected `report_data` and *now* come in; a value that only this crate
//! can build, or a refusal naming the first failed check, comes out. No clock, no network, no environment,
//! no device.
//!
//! Field names and layouts are those of AMD's documents 56860 (SEV-SNP firmware ABI, 7.3, table `ATTESTATION_REPORT`) and
//! 57230 (certificates and key server). What each check asks is in docs/spec/verdict.md.
//!
//! Reading order: [`verify`] (the entry points) → `checks.rs` (every check, in order) → `report.rs`,
//! `chain.rs`, `vek.rs` (what the checks look at) → [`Policy`] (what a deployment asks for) → [`appraise`]
//! (a whole evidence bundle, bound to one connection).
//! Whoever fetches or keeps certificates asks `endorsement.rs` which, and whether they are those.
//!
//! Nobody outside can make a verdict:
//!
//! ```
//! use snp_evidence::{ExaminedReport, ReportFacts, VerifiedBundle, VerifiedReport};
//! ```
//! ```compile_fail,E0423
//! fn forge(facts: snp_evidence::ReportFacts) -> snp_evidence::VerifiedReport {
//!     snp_evidence::VerifiedReport(facts)
//! }
//! ```
//! ```compile_fail,E0423
//! fn forge(facts: snp_evidence::ReportFacts) -> snp_evidence::ExaminedReport {
//!     snp_evidence::ExaminedReport(facts)
//! }
//! ```
//! ```compile_fail,E0451
//! fn forge(report: snp_evidence::VerifiedReport, other: snp_evidence::VerifiedBundle) -> snp_evidence::VerifiedBundle {
//!     snp_evidence::VerifiedBundle { report, ..other }
//! }
//! ```
#![forbid(unsafe_code)]

mod advisories;
mod appraise;
mod bundle;
mod certificate;
mod chain;
mod challenge;
mod check;
mod checks;
mod claims;
mod digest;
mod encoding;
mod endorsement;
mod envelope;
mod evidence;
mod manifest;
mod memory;
mod nonce_tree;
mod policy;
mod product;
mod report;
mod report_data;
mod revocation;
mod roots;
mod tcb;
mod time;
mod vek;
mod verify;

pub use advisories::{ADVISORIES, Advisory, Demand, Remedy};
pub use appraise::{VerifiedBundle, appraise};
pub use bundle::{Bundle, BundleError, MAX_BUNDLE, TreePosition};
pub use challenge::Challenge;
pub use check::{CheckOutcome, CheckResult, Refusal, RefusalClass, only_objection};
pub use claims::{ClaimsError, DebugStatus, PROFILE as CLAIMS_PROFILE, RuntimeClaims};
pub use encoding::{B64, B64Url};
pub use endorsement::{ListDates, Signer, Unfit, VcekId};
pub use evidence::{Endorsements, Evidence, EvidenceFormat, Vek};
pub use manifest::{KeyManifest, KeyUse, ManifestError, ManifestKey, Owner};
pub use nonce_tree::{Hash48, NonceTree, Root, leaf};
pub use policy::{Change, Direction, Observed, Policy, PolicyErrors, Setting, Statement, Weakness};
pub use product::{Product, UnknownProduct};
pub use report_data::{
    Binder, BindingType, ChannelRole, EXPORTER_LABEL, PUBLIC_LISTENER, Purpose, ReportData,
};
pub use roots::{RootsError, TrustRoots};
pub use tcb::Tcb;
pub use time::UnixTime;
pub use verify::{ExaminedReport, ReportFacts, VerifiedReport, examine, examine_vouching, verify};
