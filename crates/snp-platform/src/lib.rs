//! Where SNP reports come from: configfs-tsm and the guest device.
//!
//! [`detect`] finds the device of this machine; only attestation-svc may call it. [`Platform::evidence`] asks the
//! secure processor for a report over 64 bytes and returns it together with whatever certificates the host put
//! beside it. Every read is bounded, and a hostile host can cause an error but no out-of-bounds access.
//!
//! Who refuses what:
//!
//! | where | what |
//! |---|---|
//! | here | no device, no access, another provider, an error of kernel, hypervisor or firmware, a wrong length, another `report_data` than was asked for, an answer torn by another process: [`PlatformError`] |
//! | here, with a warning | a certificate table that is malformed or too large: the report goes on without it |
//! | `snp-evidence` | everything else: signature, certificates, TCB, policy, and once more length and `report_data` |
//!
//! What passes here is worth nothing until `snp-evidence` has judged it.

mod answer;
mod certificate_table;
mod configfs;
mod error;
mod files;
mod guest_device;

pub use certificate_table::{TableError, endorsements_from_table};
pub use configfs::{CONFIGFS_ROOT, ConfigfsTsm};
pub use error::PlatformError;
pub use guest_device::{GUEST_DEVICE, GuestDevice};

use snp_evidence::{Evidence, EvidenceFormat};

/// A source of evidence. Calls block, for a minute and more where the host throttles and without end where it does
/// not answer: run them on a blocking thread, under a deadline.
pub trait Platform: std::fmt::Debug + Send + Sync + 'static {
    /// What the evidence will claim to be.
    fn format(&self) -> EvidenceFormat;

    /// A new report over `report_data`, with the certificates that the host gave along.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError>;
}

/// The device of this machine: configfs-tsm where the kernel has it (from 6.7) and lets us use it, else the guest
/// device. Blocks while another process waits for a report.
pub fn detect() -> Result<Box<dyn Platform>, PlatformError> {
    either(|| Ok(Box::new(ConfigfsTsm::open(CONFIGFS_ROOT)?)), || Ok(Box::new(GuestDevice::open()?)))
}

type Found = Result<Box<dyn Platform>, PlatformError>;

/// One driver is behind both. configfs-tsm gives every request to root, so a service with a user of its own may well
/// have the device alone.
fn either(configfs: impl FnOnce() -> Found, device: impl FnOnce() -> Found) -> Found {
    use PlatformError::{Absent, PermissionDenied};
    let refused = match configfs() {
        Err(refused @ (Absent { .. } | PermissionDenied { .. })) => refused,
        found => return found,
    };
    device().map_err(|error| match (refused, error) {
        (Absent { place }, Absent { place: other }) => Absent { place: format!("{place} or {other}") },
        (PermissionDenied { place }, PermissionDenied { place: other }) => {
            PermissionDenied { place: format!("{place} or {other}") }
        }
        (denied @ PermissionDenied { .. }, Absent { .. }) => denied,
        (_, error) => error,
    })
}

#[cfg(test)]
mod tests;
