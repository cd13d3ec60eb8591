//! The launch measurement that an SEV-SNP guest will report, computed from what it is launched with.
//!
//! Bytes come in (firmware image, digests of kernel, initrd and command line, kind of vCPU), a digest comes out.
//! No clock, no network, no environment, no device; the only file access is what a caller's reader does in
//! [`sha256`].
//!
//! Reading order: [`Launch::measure`] → `chain.rs` (how one page enters the measurement) → `firmware.rs` (the
//! image and its tables) → `kernel.rs` (the page of hashes) → `vmsa.rs` (the page of each vCPU).
//!
//! What is hashed in which order, with the sections of AMD's documents: docs/spec/launch-measurement.md.
#![forbid(unsafe_code)]

mod chain;
mod firmware;
mod kernel;
mod launch;
mod span;
mod vcpu;
mod vmsa;

pub use chain::Measurement;
pub use firmware::{Firmware, FirmwareError};
pub use kernel::{Kernel, sha256};
pub use launch::{Launch, MAX_VCPUS, MeasureError};
pub use vcpu::Vcpu;
pub use vmsa::Vmm;

/// Memory is measured in pages of 4 KiB.
pub(crate) const PAGE: usize = 4096;
