//! The audit log of attestation-svc: one JSON object per line, each with the hash of the one before
//! (docs/spec/audit.md).
//!
//! - `record.rs`: the form of a line. `chain.rs`: what makes lines a chain. Both pure.
//! - `segment.rs`: the files. `log.rs`: appending, the next segment, repair. `verify.rs`: reading it
//!   all again.
//!
//! Failure: [`AuditLog::append`] returns when the records are on disk, or takes back what it wrote
//! and says why. [`AuditLog::open`] cuts off a line that a crash left unfinished, and records that;
//! anything else that is wrong with the chain is refused, never repaired.
#![forbid(unsafe_code)]

mod chain;
mod log;
mod record;
mod segment;
mod verify;

pub use chain::Broken;
pub use log::{AuditLog, Limits, OpenError};
pub use record::{Event, Hash, MAX_LINE, Record, Stamp};
pub use verify::{Summary, VerifyError, verify};

#[cfg(test)]
mod tests;
