//! Reports through `/dev/sev-guest`: for kernels before 6.7, and where configfs is closed to us.
//!
//! The extended request brings the host's certificate table along. It is ours ([`ioctl`]), because crate `sev`
//! follows the offsets in that table through raw pointers without a bound, so that a hostile host could have memory
//! of this process copied into a "certificate" that is then published. Where the host's table does not fit, crate
//! `sev` asks for the plain report. ADR 3 has the reasons.

mod ioctl;

use std::{
    fmt::Debug,
    fs::File,
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use sev::{
    error::{FirmwareError, UserApiError, VmmError},
    firmware::guest::Firmware,
};
use snp_evidence::{Evidence, EvidenceFormat};

use crate::{
    Platform, PlatformError, answer,
    files::{self, Files},
};
use ioctl::{Exchange, ExitInfo};

/// Where Linux has the guest device.
pub const GUEST_DEVICE: &str = "/dev/sev-guest";
/// Where Linux, from 6.11, tells at which VMPL it runs.
const OWN_VMPL: &str = "/sys/devices/system/cpu/sev/vmpl";

/// The guest device.
#[derive(Debug)]
pub struct GuestDevice {
    requests: Box<dyn Requests>,
    vmpl: u32,
}

impl GuestDevice {
    /// Opens [`GUEST_DEVICE`].
    pub fn open() -> Result<Self, PlatformError> {
        let device = open(GUEST_DEVICE.as_ref())?;
        Self::with(Box::new(Kernel(device)), &files::Kernel)
    }

    fn with(requests: Box<dyn Requests>, files: &dyn Files) -> Result<Self, PlatformError> {
        Ok(Self { requests, vmpl: own_vmpl(files)? })
    }

    /// For a host whose certificate table is larger than the kernel takes.
    fn plain(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        tracing::warn!("the host's certificate table is larger than 16 KiB and ignored");
        let report = self.requests.plain(report_data, self.vmpl).map_err(|error| refused_by_sev(&error))?;
        answer::evidence(GUEST_DEVICE, report_data, report, &[])
    }
}

impl Platform for GuestDevice {
    fn format(&self) -> EvidenceFormat {
        answer::FORMAT
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        let mut exchange = Exchange::new(report_data, self.vmpl);
        let done = self.requests.extended(&mut exchange);
        if VmmError::from(exchange.errors.hypervisor) == VmmError::InvalidCertificatePageLength {
            return self.plain(report_data);
        }
        done.map_err(|source| refused(exchange.errors, source))?;
        answer::evidence(GUEST_DEVICE, report_data, report(&exchange)?, exchange.table.as_ref())
    }
}

/// A file in place of the device would answer every request as a device without key does.
fn open(path: &Path) -> Result<File, PlatformError> {
    let failed = |source| PlatformError::from_io(path.display().to_string(), "open", source);
    let device = File::open(path).map_err(failed)?;
    if device.metadata().map_err(failed)?.file_type().is_char_device() {
        return Ok(device);
    }
    Err(PlatformError::Absent { place: format!("{} (it is no device)", path.display()) })
}

/// A guest under an SVSM may only ask for its own VMPL or a less privileged one.
fn own_vmpl(files: &dyn Files) -> Result<u32, PlatformError> {
    let path = PathBuf::from(OWN_VMPL);
    let vmpl = match files.read(&path) {
        // A kernel that does not tell runs at VMPL 0.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        read => read.map_err(|source| PlatformError::from_io(OWN_VMPL.to_owned(), "read", source))?,
    };
    match files::text(&vmpl).parse() {
        Ok(vmpl @ 0..=3) => Ok(vmpl),
        _ => Err(PlatformError::Malformed(format!(
            "{OWN_VMPL} holds {:?}, not a VMPL from 0 to 3",
            files::text(&vmpl)
        ))),
    }
}

/// The report in a response: status, size, 24 reserved bytes, report (AMD document 56860, MSG_REPORT_RSP).
fn report(exchange: &Exchange) -> Result<Vec<u8>, PlatformError> {
    let [s0, s1, s2, s3, l0, l1, l2, l3, ..] = *exchange.response;
    let status = u32::from_le_bytes([s0, s1, s2, s3]);
    if status != 0 {
        let reason = FirmwareError::from(status).to_string();
        return Err(PlatformError::Firmware { place: GUEST_DEVICE.to_owned(), reason });
    }
    let size = u32::from_le_bytes([l0, l1, l2, l3]);
    let report = exchange.response.get(32..).and_then(|rest| rest.get(..usize::try_from(size).ok()?));
    report
        .map(<[u8]>::to_vec)
        .ok_or_else(|| PlatformError::Malformed(format!("{GUEST_DEVICE} speaks of a report of {size} bytes")))
}

/// Why an extended request failed: once it has left the guest, `errors` says more than the kernel's `source`.
fn refused(errors: ExitInfo, source: io::Error) -> PlatformError {
    let by_kernel = PlatformError::from_request(GUEST_DEVICE.to_owned(), source);
    match (&by_kernel, errors) {
        (PlatformError::VmpckDisabled { .. }, _) | (_, ExitInfo { hypervisor: 0, firmware: 0 | 0xff }) => {
            by_kernel
        }
        (_, ExitInfo { hypervisor: 0, firmware }) => {
            refused_by_sev(&UserApiError::FirmwareError(firmware.into()))
        }
        (_, ExitInfo { hypervisor, .. }) => refused_by_sev(&UserApiError::VmmError(hypervisor.into())),
    }
}

/// The same in the words of crate `sev`.
fn refused_by_sev(error: &UserApiError) -> PlatformError {
    let place = GUEST_DEVICE.to_owned();
    if matches!(error, UserApiError::VmmError(VmmError::RateLimitRetryRequest)) {
        return PlatformError::Throttled { place };
    }
    PlatformError::Firmware { place, reason: error.to_string() }
}

/// What the device is asked for; a seam, because no test has one.
trait Requests: Debug + Send + Sync {
    /// A report and the host's certificate table.
    fn extended(&self, exchange: &mut Exchange) -> io::Result<()>;
    /// A report alone.
    fn plain(&self, report_data: &[u8; 64], vmpl: u32) -> Result<Vec<u8>, UserApiError>;
}

#[derive(Debug)]
struct Kernel(File);

impl Requests for Kernel {
    fn extended(&self, exchange: &mut Exchange) -> io::Result<()> {
        ioctl::extended_report(&self.0, exchange)
    }

    fn plain(&self, report_data: &[u8; 64], vmpl: u32) -> Result<Vec<u8>, UserApiError> {
        let mut firmware = Firmware::open().map_err(UserApiError::IOError)?;
        firmware.get_report(None, Some(*report_data), Some(vmpl))
    }
}

#[cfg(test)]
mod tests;
