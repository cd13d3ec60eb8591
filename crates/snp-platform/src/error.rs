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
    #[error(
        "{place} refuses access: let attestation-svc's user read /dev/sev-guest, or run it with CAP_DAC_OVERRIDE for \
         configfs"
    )]
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
    /// The guest driver has given up its key to the secure processor (VMPCK): until the guest restarts, there is no
    /// report. Linux does so after each request that failed half way, lest an initialization vector be used twice.
    #[error("the guest driver behind {place} has disabled its key (VMPCK), {reason}: restart the CVM")]
    VmpckDisabled {
        /// Path of the device or attribute.
        place: String,
        /// After what.
        reason: &'static str,
    },
    /// The device answered something that is not a report; place and problem.
    #[error("{0}: check the guest kernel and the host's firmware")]
    Malformed(String),
    /// The device answered with a report that was not asked for: a former one, or another process's.
    #[error(
        "{place} answered with a report over other data than was asked for: stop whatever else asks for reports; where \
         nothing does, do not trust this machine"
    )]
    OtherReportData {
        /// Path of the device or attribute.
        place: String,
    },
    /// The secure processor or the hypervisor refused the request.
    #[error(
        "the firmware behind {place} refused a report ({reason}): look into the kernel log of guest and host"
    )]
    Firmware {
        /// Path of the device or attribute.
        place: String,
        /// In the words of the interface.
        reason: String,
    },
    /// The kernel refused an operation.
    #[error("cannot {operation} {place} ({source}): look into the kernel log")]
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
            Some(Errno::EAGAIN | Errno::EINTR) => Self::Throttled { place },
            _ => Self::Io { place, operation, source },
        }
    }

    /// The same for an answer to a request that went to the secure processor, by the words of Linux'
    /// `drivers/virt/coco/sev-guest`.
    pub(crate) fn from_request(place: String, source: io::Error) -> Self {
        let firmware = |place, reason: &str| Self::Firmware { place, reason: reason.to_owned() };
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOTTY) => {
                Self::VmpckDisabled { place, reason: "after a request that failed before" }
            }
            // The driver itself retries a throttled request for a minute.
            Some(Errno::ETIMEDOUT) => {
                Self::VmpckDisabled { place, reason: "after the host throttled one request for a minute" }
            }
            Some(Errno::EINVAL) => {
                firmware(place, "invalid parameter, such as a more privileged VMPL than the guest's own")
            }
            Some(Errno::ENXIO) => firmware(place, "an error status in place of a report"),
            Some(Errno::EBADMSG) => firmware(place, "an answer that is not the secure processor's"),
            Some(Errno::EIO) => firmware(place, "input/output error; too large a certificate table is one"),
            _ => Self::from_io(place, "ask for a report at", source),
        }
    }
}
