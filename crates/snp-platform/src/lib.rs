//! Where SNP reports come from: configfs-tsm and the guest device.
//!
//! [`detect`] finds the device of this machine; only attestation-svc may call it. [`Platform::evidence`] asks the
//! secure processor for a report over 64 bytes and returns it together with whatever certificates the host put
//! beside it. Nothing here is judged: the report and the certificates are as the host delivered them, and
//! `snp-evidence` decides what they are worth. Every read is bounded, and a hostile host can cause an error but no
//! out-of-bounds access.

mod certificate_table;
mod configfs;
mod error;
mod guest_device;

pub use certificate_table::{TableError, endorsements_from_table};
pub use configfs::{CONFIGFS_ROOT, ConfigfsTsm};
pub use error::PlatformError;
pub use guest_device::{GUEST_DEVICE, GuestDevice};

use snp_evidence::{Evidence, EvidenceFormat};

/// A source of evidence. Calls block, for up to a minute where the host throttles: run them on a blocking thread.
pub trait Platform: std::fmt::Debug + Send + Sync + 'static {
    /// What the evidence will claim to be.
    fn format(&self) -> EvidenceFormat;

    /// A new report over `report_data`, with the certificates that the host gave along.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError>;
}

/// The device of this machine: configfs-tsm where the kernel has it (from 6.7), else the older guest device.
pub fn detect() -> Result<Box<dyn Platform>, PlatformError> {
    match ConfigfsTsm::open(CONFIGFS_ROOT) {
        Ok(platform) => Ok(Box::new(platform)),
        Err(PlatformError::Absent { place }) => match GuestDevice::open() {
            Ok(platform) => Ok(Box::new(platform)),
            Err(PlatformError::Absent { place: other }) => {
                Err(PlatformError::Absent { place: format!("{place} or {other}") })
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_both_places_are_named() {
        let Err(PlatformError::Absent { place }) = detect() else {
            println!("skipped: this machine has a device");
            return;
        };
        assert!(place.contains(CONFIGFS_ROOT) && place.contains(GUEST_DEVICE), "{place}");
    }
}
