//! Why there is no report, in one line each: where, what, and what to do.

use std::io;

use nix::errno::Errno;

/// Why no evidence could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// This machine has no such device.
    #[error(
        "no SEV-SNP device at {place}: run in an SEV-SNP guest whose kernel has CONFIG_SEV_GUEST and configfs mounted"
    )]
    Absent {
        /// Where it was looked for.
        place: String,
    },
    /// The device is there, but not for us.
    #[error("{place} refuses access: run attestation-svc as the user that owns it")]
    PermissionDenied {
        /// Path of the device or attribute.
        place: String,
    },
    /// Somebody else uses the device at the same time; worth retrying.
    #[error(
        "{place} is being changed by another process: only attestation-svc may ask for reports, stop the other one"
    )]
    Busy {
        /// Path of the device or attribute.
        place: String,
    },
    /// The host limits how often reports are made; worth retrying.
    #[error("the host throttles report requests at {place}: retry in some seconds, or ask for fewer reports")]
    Throttled {
        /// Path of the device or attribute.
        place: String,
    },
    /// The device answered something that is not a report; place and problem.
    #[error("{0}: check the guest kernel and the host's firmware")]
    Malformed(String),
    /// The secure processor or the hypervisor refused the request.
    #[error(
        "the firmware behind {place} refused a report ({reason}): look into the kernel log of guest and host"
    )]
    Firmware {
        /// Path of the device.
        place: String,
        /// In the words of the interface.
        reason: String,
    },
    /// The kernel refused an operation.
    #[error("cannot {operation} {place}: look into the kernel log")]
    Io {
        /// Path of the device or attribute.
        place: String,
        /// What was tried, as a verb.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl PlatformError {
    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Throttled { .. })
    }

    /// Sorts the kernel's answer by what the operator can do about it.
    pub(crate) fn from_io(place: String, operation: &'static str, source: io::Error) -> Self {
        match source.raw_os_error().map(Errno::from_raw) {
            // ENXIO: the directory is there, but no driver has registered behind it.
            Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => Self::Absent { place },
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => Self::PermissionDenied { place },
            Some(Errno::EBUSY) => Self::Busy { place },
            // The driver retries a throttled request for a while, then gives up with one of these.
            Some(Errno::EAGAIN | Errno::ETIMEDOUT | Errno::EINTR) => Self::Throttled { place },
            _ => Self::Io { place, operation, source },
        }
    }
}
