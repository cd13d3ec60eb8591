//! A software secure processor that makes byte-exact SNP reports under its own roots.
//!
//! What it is for: running and testing Cube where there is no SEV-SNP hardware. [`SimulatedRoot::generate`] makes
//! an ARK, ASK and ASVK of AMD's certificate profile that live 24 hours; [`SimulatedRoot::make_processor`] makes
//! one chip under them; [`SecureProcessor::report`] answers like the firmware does, in the bytes that the firmware
//! would write. Only the root tells the difference, which is why it is never one that a shipped binary accepts.
//!
//! The layout constants and the certificate encoder here share no code with `snp-evidence`, so that writer and
//! reader check each other.
#![forbid(unsafe_code)]

mod certificate;
mod der;
mod guest;
pub mod layout;
mod processor;
mod product;
mod root;
mod stored;

pub use guest::{FirmwareVersion, Guest, ReportVersion};
pub use processor::{ChipSpec, SecureProcessor, SigningKey};
pub use product::{Cpuid, Product, Tcb};
pub use root::SimulatedRoot;

/// A policy for tests: accepts `measurement` on any simulated machine that is not debugged, and little else is asked.
pub fn policy(measurement: &[u8; 48]) -> String {
    include_str!("policy.toml").replace("@MEASUREMENT@", &hex::encode(measurement))
}

/// Why the simulator could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The cryptographic library refused; `.0` names the step.
    #[error("simulator: {0} failed inside the cryptographic library")]
    Crypto(&'static str),
    /// The instant cannot be written into a certificate.
    #[error("simulator: {0} seconds since 1970 is not a date that a certificate can carry")]
    Time(i64),
    /// A body to be signed has another length than [`layout::BODY_LEN`].
    #[error("simulator: a report body is {expected} bytes, got {0}; cut the signature off first", expected = layout::BODY_LEN)]
    BodyLength(usize),
    /// A stored machine or guest cannot be read.
    #[error(
        "simulator: stored {what} is unreadable ({why}); delete the file and start a new simulated machine"
    )]
    Stored {
        /// Which document it was.
        what: &'static str,
        /// What the parser disliked; never the document itself, which holds a private key.
        why: String,
    },
}
