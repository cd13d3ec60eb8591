use std::{
    ffi::OsString,
    sync::{Arc, Mutex},
};

use nix::errno::Errno;
use snp_evidence::{Endorsements, Vek};

use super::*;
use crate::{
    certificate_table::tests::{VCEK, table},
    files::Lock,
    tests::recorded::recorded,
};

const INVALID_LEN: (u32, u32) = (0, 1);
const BUSY: (u32, u32) = (0, 2);
/// The request has not left the guest.
const KEPT: (u32, u32) = (0xff, 0);

#[test]
fn a_report_comes_with_the_hosts_certificates() {
    let (device, state) = device(Driver { table: table(&[(VCEK, b"vcek")]), ..Driver::default() });
    let evidence = device.evidence(&[7; 64]).unwrap();
    assert_eq!(evidence.format, EvidenceFormat::AmdSevSnp);
    assert_eq!((evidence.report.len(), &evidence.report[0x50..0x90]), (1184, &[7; 64][..]));
    assert_eq!(evidence.endorsements.vek, Some(Vek::Vcek(b"vcek".to_vec())));
    assert_eq!(*state.lock().unwrap(), ["extended"]);
}

#[test]
fn recorded_answers_get_their_recorded_verdicts() {
    let Some((vectors, policy)) = recorded() else { return };
    for vector in vectors {
        let (report, table) = (Some(vector.report.clone()), vector.table.clone());
        let (device, _) = device(Driver { report, table, ..Driver::default() });
        vector.assert_is(&device.evidence(&vector.report_data()).unwrap(), &policy);
    }
}

#[test]
fn offsets_that_leave_the_table_are_not_followed() {
    // An entry that reaches beyond the 16 KiB, which crate `sev` would read memory of ours into.
    let mut hostile = table(&[(VCEK, b"vcek")]);
    hostile[16..20].copy_from_slice(&(16 * 1024_u32 - 4).to_le_bytes());
    hostile[20..24].copy_from_slice(&4096_u32.to_le_bytes());
    let (device, _) = device(Driver { table: hostile, ..Driver::default() });
    assert_eq!(device.evidence(&[7; 64]).unwrap().endorsements, Endorsements::default());
}

#[test]
fn without_a_table_that_fits_the_report_comes_alone() {
    // Linux 6.2 answered so without an error.
    for errno in [Some(Errno::EIO), None] {
        let driver = Driver { errno, exit_info: INVALID_LEN, vmpl: 2, ..Driver::default() };
        let (device, state) = device(driver);
        let evidence = device.evidence(&[7; 64]).unwrap();
        assert_eq!(evidence.report[0x50..0x90], [7; 64]);
        assert_eq!(evidence.report[0x30], 2, "of the same VMPL");
        assert_eq!(evidence.endorsements, Endorsements::default());
        assert_eq!(*state.lock().unwrap(), ["extended", "plain"]);
    }
}

#[test]
fn the_guests_own_vmpl_is_asked_for() {
    for (text, vmpl) in [(Ok("0\n"), 0), (Ok("2\n"), 2), (Err(Errno::ENOENT), 0)] {
        let (requests, _) = requests(Driver::default());
        let device = GuestDevice::with(requests, &Attribute(text)).unwrap();
        assert_eq!(device.evidence(&[7; 64]).unwrap().report[0x30], vmpl);
    }
    let refused = |text| GuestDevice::with(requests(Driver::default()).0, &Attribute(text)).unwrap_err();
    for text in ["4", "-1", "", "two"] {
        let error = refused(Ok(text));
        assert!(matches!(error, PlatformError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(OWN_VMPL), "{error}");
    }
    assert!(matches!(refused(Err(Errno::EACCES)), PlatformError::PermissionDenied { .. }));
}

#[test]
fn a_lying_device_is_refused() {
    let told = |driver| device(driver).0.evidence(&[7; 64]).unwrap_err();
    let former = Driver { report: Some(vec![6; 1184]), ..Driver::default() };
    assert!(matches!(told(former), PlatformError::OtherReportData { .. }));
    for length in [0, 1183, 1185, 3968] {
        let error = told(Driver { report: Some(vec![7; length]), ..Driver::default() });
        assert!(matches!(&error, PlatformError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(&format!("holds {length} bytes")), "{error}");
    }
    for size in [3969, u32::MAX] {
        let error = told(Driver { size: Some(size), ..Driver::default() });
        assert!(matches!(&error, PlatformError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(&format!("of {size} bytes")), "{error}");
    }
    let former = Driver { exit_info: INVALID_LEN, report: Some(vec![6; 1184]), ..Driver::default() };
    assert!(matches!(told(former), PlatformError::OtherReportData { .. }), "of a plain report as well");
}

#[test]
fn a_status_in_place_of_a_report_is_the_firmwares_refusal() {
    for status in [0x16, 0x27, 0xffff_ffff] {
        let error = device(Driver { status, ..Driver::default() }).0.evidence(&[7; 64]).unwrap_err();
        assert!(matches!(error, PlatformError::Firmware { .. }), "{error}");
    }
}

#[test]
fn failed_requests_are_sorted_by_what_to_do() {
    let told = |errno, exit_info| {
        let (device, state) = device(Driver { errno: Some(errno), exit_info, ..Driver::default() });
        let error = device.evidence(&[7; 64]).unwrap_err();
        assert_eq!(*state.lock().unwrap(), ["extended"]);
        assert!(error.to_string().contains(GUEST_DEVICE), "{error}");
        error
    };
    for (errno, exit_info) in [(Errno::EIO, BUSY), (Errno::EAGAIN, KEPT), (Errno::EINTR, KEPT)] {
        let error = told(errno, exit_info);
        assert!(matches!(error, PlatformError::Throttled { .. }) && error.is_transient(), "{error}");
    }
    // The driver has given up, and its key with it: nothing is left to retry.
    for (errno, exit_info) in [(Errno::ETIMEDOUT, BUSY), (Errno::ENOTTY, KEPT)] {
        let error = told(errno, exit_info);
        assert!(matches!(error, PlatformError::VmpckDisabled { .. }) && !error.is_transient(), "{error}");
    }
    for (errno, exit_info) in
        [(Errno::EIO, (0x16, 0)), (Errno::EIO, (0, 7)), (Errno::EIO, KEPT), (Errno::EBADMSG, (0, 0))]
    {
        let error = told(errno, exit_info);
        assert!(matches!(error, PlatformError::Firmware { .. }) && !error.is_transient(), "{error}");
    }
    assert!(told(Errno::EIO, (0x16, 0)).to_string().contains("Given parameter is invalid"));
    assert!(matches!(told(Errno::EBUSY, KEPT), PlatformError::Busy { .. }));
    assert!(matches!(told(Errno::EFAULT, KEPT), PlatformError::Io { .. }));
}

#[test]
fn a_plain_request_is_refused_in_the_same_words() {
    let throttled = refused_by_sev(&VmmError::RateLimitRetryRequest.into());
    assert!(throttled.is_transient(), "{throttled}");
    let refusal = refused_by_sev(&UserApiError::VmplError);
    assert!(!refusal.is_transient() && refusal.to_string().contains(GUEST_DEVICE), "{refusal}");
}

#[test]
fn a_file_in_place_of_the_device_is_no_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sev-guest");
    let missing = open(&path).unwrap_err().to_string();
    assert!(missing.contains(path.to_str().unwrap()), "{missing}");
    std::fs::write(&path, "").unwrap();
    let file = open(&path).unwrap_err().to_string();
    assert!(file.starts_with("no SEV-SNP device at") && file.contains("it is no device"), "{file}");
    assert!(open("/dev/null".as_ref()).is_ok(), "whether it is the guest device, the first request tells");
}

/// The kernel behind the ioctl, with faults on demand.
#[derive(Debug)]
struct Driver {
    errno: Option<Errno>,
    /// Of firmware and hypervisor.
    exit_info: (u32, u32),
    status: u32,
    /// A report in place of one over what was asked for.
    report: Option<Vec<u8>>,
    /// A size that is not the report's.
    size: Option<u32>,
    table: Vec<u8>,
    vmpl: u32,
    asked: Asked,
}

type Asked = Arc<Mutex<Vec<&'static str>>>;

impl Default for Driver {
    fn default() -> Self {
        let (table, asked) = (Vec::new(), Arc::default());
        Self { errno: None, exit_info: (0, 0), status: 0, report: None, size: None, table, vmpl: 0, asked }
    }
}

impl Driver {
    fn report(&self, report_data: &[u8; 64], vmpl: u32) -> Vec<u8> {
        self.report.clone().unwrap_or_else(|| {
            let mut report = vec![0; 1184];
            report[0x30..0x34].copy_from_slice(&vmpl.to_le_bytes());
            report[0x50..0x90].copy_from_slice(report_data);
            report
        })
    }
}

impl Requests for Driver {
    fn extended(&self, exchange: &mut Exchange) -> io::Result<()> {
        self.asked.lock().unwrap().push("extended");
        let (firmware, hypervisor) = self.exit_info;
        exchange.errors = ExitInfo { firmware, hypervisor };
        if let Some(errno) = self.errno {
            return Err(errno.into());
        }
        let report = self.report(&exchange.request.report_data, exchange.request.vmpl);
        let size = self.size.unwrap_or_else(|| u32::try_from(report.len()).unwrap());
        exchange.response[..4].copy_from_slice(&self.status.to_le_bytes());
        exchange.response[4..8].copy_from_slice(&size.to_le_bytes());
        exchange.response[32..32 + report.len()].copy_from_slice(&report);
        exchange.table[..self.table.len()].copy_from_slice(&self.table);
        Ok(())
    }

    fn plain(&self, report_data: &[u8; 64], vmpl: u32) -> Result<Vec<u8>, UserApiError> {
        self.asked.lock().unwrap().push("plain");
        Ok(self.report(report_data, vmpl))
    }
}

fn requests(driver: Driver) -> (Box<dyn Requests>, Asked) {
    let asked = Arc::clone(&driver.asked);
    (Box::new(driver), asked)
}

fn device(driver: Driver) -> (GuestDevice, Asked) {
    let vmpl = driver.vmpl;
    let (requests, asked) = requests(driver);
    (GuestDevice { requests, vmpl }, asked)
}

/// A file system with one attribute.
#[derive(Debug)]
struct Attribute(Result<&'static str, Errno>);

impl Files for Attribute {
    fn list(&self, _: &Path) -> io::Result<Vec<OsString>> {
        unreachable!()
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Lock>> {
        unreachable!()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        assert_eq!(path, Path::new(OWN_VMPL));
        Ok(self.0?.into())
    }

    fn write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        unreachable!()
    }
}
