//! Reports through `/dev/sev-guest`, for kernels before 6.7.
//!
//! Only the plain report is asked for. The extended request would bring the host's certificate table too, but crate
//! `sev` follows the offsets in that table through raw pointers without a bound, so a hostile host could have
//! memory of this process copied into a "certificate" that is then published. Certificates come from the
//! collateral directory instead.

use std::{fs::OpenOptions, io};

use sev::{
    error::{UserApiError, VmmError},
    firmware::guest::Firmware,
};
use snp_evidence::{Endorsements, Evidence, EvidenceFormat};

use crate::{Platform, PlatformError};

/// Where Linux has the guest device.
pub const GUEST_DEVICE: &str = "/dev/sev-guest";

/// The guest device, opened anew for each report.
#[derive(Debug)]
pub struct GuestDevice(());

impl GuestDevice {
    /// Makes sure that [`GUEST_DEVICE`] can be opened.
    pub fn open() -> Result<Self, PlatformError> {
        OpenOptions::new().read(true).open(GUEST_DEVICE).map_err(cannot_open)?;
        Ok(Self(()))
    }
}

impl Platform for GuestDevice {
    fn format(&self) -> EvidenceFormat {
        EvidenceFormat::AmdSevSnp
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        let mut firmware = Firmware::open().map_err(cannot_open)?;
        // Named, because the crate would ask for VMPL 1.
        let report =
            firmware.get_report(None, Some(*report_data), Some(0)).map_err(|error| refused(&error))?;
        Ok(Evidence { format: self.format(), report, endorsements: Endorsements::default() })
    }
}

fn cannot_open(source: io::Error) -> PlatformError {
    PlatformError::from_io(GUEST_DEVICE.to_owned(), "open", source)
}

fn refused(error: &UserApiError) -> PlatformError {
    let place = GUEST_DEVICE.to_owned();
    if matches!(error, UserApiError::VmmError(VmmError::RateLimitRetryRequest)) {
        return PlatformError::Throttled { place };
    }
    PlatformError::Firmware { place, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_transient_and_refusal_is_not() {
        let throttled = refused(&UserApiError::VmmError(VmmError::RateLimitRetryRequest));
        assert!(throttled.is_transient(), "{throttled}");
        let refusal = refused(&UserApiError::VmplError);
        assert!(!refusal.is_transient());
        assert!(refusal.to_string().contains(GUEST_DEVICE), "{refusal}");
    }
}
