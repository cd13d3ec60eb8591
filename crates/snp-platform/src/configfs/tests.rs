use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use nix::errno::Errno;
use snp_evidence::Vek;

use super::*;
use crate::certificate_table::tests::table;

const VCEK: u128 = 0x63da758d_e664_4564_adc5_f4b93be8accd;

#[test]
fn a_report_comes_with_the_hosts_certificates() {
    let driver = Driver { table: table(&[(VCEK, b"vcek")]), ..Driver::default() };
    let (platform, state) = platform(driver);
    let evidence = platform.evidence(&[7; 64]).unwrap();
    assert_eq!(evidence.format, EvidenceFormat::AmdSevSnp);
    assert_eq!(evidence.report[0x50..0x90], [7; 64]);
    assert_eq!(evidence.report.len(), 1184);
    assert_eq!(evidence.endorsements.vek, Some(Vek::Vcek(b"vcek".to_vec())));
    assert!(state.lock().unwrap().requests.is_empty(), "requests are removed");
}

#[test]
fn a_lost_race_is_run_again() {
    let (platform, state) = platform(Driver { intruders: 3, ..Driver::default() });
    let evidence = platform.evidence(&[7; 64]).unwrap();
    assert_eq!(evidence.report[0x50..0x90], [7; 64], "never the intruder's report");
    assert_eq!(state.lock().unwrap().reports, 4);
}

#[test]
fn races_are_given_up_after_eight() {
    let (platform, state) = platform(Driver { intruders: usize::MAX, ..Driver::default() });
    let error = platform.evidence(&[7; 64]).unwrap_err();
    assert!(matches!(error, PlatformError::Busy { .. }), "{error}");
    assert!(error.is_transient());
    assert_eq!(state.lock().unwrap().reports, 8);
    assert!(state.lock().unwrap().requests.is_empty());
}

#[test]
fn a_torn_report_is_refused() {
    for length in [0, 1183, 1185, 4000] {
        let (platform, _) = platform(Driver { report_len: length, ..Driver::default() });
        let error = platform.evidence(&[7; 64]).unwrap_err();
        assert!(matches!(&error, PlatformError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(&format!("holds {length} bytes")), "{error}");
    }
}

#[test]
fn an_unreadable_table_is_as_good_as_none() {
    let (platform, _) = platform(Driver { table: vec![1; 100], ..Driver::default() });
    assert_eq!(platform.evidence(&[7; 64]).unwrap().endorsements, Endorsements::default());
}

#[test]
fn under_an_svsm_the_guests_own_privilege_level_is_asked_for() {
    for (floor, level) in [(None, 0), (Some("0\n"), 0), (Some("2\n"), 2)] {
        let (platform, _) = platform(Driver { floor, ..Driver::default() });
        assert_eq!(platform.evidence(&[7; 64]).unwrap().report[0x30], level);
    }
}

#[test]
fn another_kind_of_guest_is_told_by_name() {
    let (error, state) = refused(Driver { provider: "tdx_guest\n", ..Driver::default() });
    assert!(matches!(error, PlatformError::Absent { .. }));
    assert!(error.to_string().contains("tdx_guest"), "{error}");
    assert!(state.lock().unwrap().requests.is_empty(), "requests are removed");
}

#[test]
fn the_kernels_answers_are_sorted_by_what_to_do() {
    let at = |attribute, errno| {
        let (platform, _) = platform(Driver { fails: Some((attribute, errno)), ..Driver::default() });
        let error = platform.evidence(&[7; 64]).unwrap_err();
        assert!(error.to_string().contains(attribute), "{error}");
        error
    };
    assert!(matches!(at("inblob", Errno::EACCES), PlatformError::PermissionDenied { .. }));
    assert!(matches!(at("inblob", Errno::EBUSY), PlatformError::Busy { .. }));
    assert!(matches!(at("outblob", Errno::EAGAIN), PlatformError::Throttled { .. }));
    assert!(matches!(at("outblob", Errno::ETIMEDOUT), PlatformError::Throttled { .. }));
    assert!(matches!(at("outblob", Errno::EIO), PlatformError::Io { .. }));
    assert!(matches!(at("auxblob", Errno::EIO), PlatformError::Io { .. }));
}

#[test]
fn requests_that_may_not_be_made_are_told_at_the_start() {
    let (error, _) = refused(Driver { fails: Some(("cube-", Errno::EACCES)), ..Driver::default() });
    assert!(matches!(error, PlatformError::PermissionDenied { .. }), "{error}");
    let (error, _) = refused(Driver { fails: Some(("cube-", Errno::ENXIO)), ..Driver::default() });
    assert!(matches!(error, PlatformError::Absent { .. }), "no driver is registered: {error}");
}

#[test]
fn a_missing_root_means_no_device() {
    let folder = tempfile::tempdir().unwrap();
    let error = ConfigfsTsm::open(folder.path().join("report")).unwrap_err();
    assert!(matches!(&error, PlatformError::Absent { .. }));
    assert!(error.to_string().contains("CONFIG_SEV_GUEST"), "{error}");
}

#[test]
fn files_are_read_up_to_a_bound_and_never_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("attribute");
    assert_eq!(Kernel.write(&path, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::write(&path, vec![1; 64 * 1024]).unwrap();
    assert_eq!(Kernel.read(&path).unwrap().len(), 64 * 1024);
    fs::write(&path, vec![1; 64 * 1024 + 1]).unwrap();
    assert_eq!(Kernel.read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    Kernel.write(&path, b"short").unwrap();
    assert_eq!(fs::read(&path).unwrap()[..6], *b"short\x01");
}

/// What the kernel does behind the directory.
#[derive(Debug)]
struct Driver {
    provider: &'static str,
    floor: Option<&'static str>,
    report_len: usize,
    table: Vec<u8>,
    /// How many reports somebody else's write comes before.
    intruders: usize,
    /// An attribute that answers with an error; `cube-` is the making of a request.
    fails: Option<(&'static str, Errno)>,
    requests: HashMap<PathBuf, RequestState>,
    /// How many reports were made.
    reports: usize,
}

#[derive(Debug, Default)]
struct RequestState {
    generation: u64,
    inblob: Vec<u8>,
    privilege_level: u8,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            provider: "sev_guest\n",
            floor: None,
            report_len: REPORT_LEN,
            table: Vec::new(),
            intruders: 0,
            fails: None,
            requests: HashMap::new(),
            reports: 0,
        }
    }
}

impl Driver {
    fn answer(&mut self, request: &Path, attribute: &str) -> io::Result<Vec<u8>> {
        let state = self.requests.get_mut(request).ok_or(Errno::ENOENT)?;
        match attribute {
            "provider" => Ok(self.provider.into()),
            "privlevel_floor" => Ok(self.floor.ok_or(Errno::ENOENT)?.into()),
            "generation" => Ok(format!("{}\n", state.generation).into()),
            "auxblob" => Ok(self.table.clone()),
            "outblob" => {
                if self.reports < self.intruders {
                    state.generation += 1;
                    state.inblob = vec![0xBA; 64];
                }
                self.reports += 1;
                let mut report = vec![0; 0x50];
                report[0x30] = state.privilege_level;
                report.extend(&state.inblob);
                report.resize(self.report_len, 0);
                Ok(report)
            }
            _ => Err(Errno::ENOENT.into()),
        }
    }

    fn take(&mut self, request: &Path, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        let state = self.requests.get_mut(request).ok_or(Errno::ENOENT)?;
        state.generation += 1;
        match attribute {
            "inblob" => state.inblob = bytes.to_vec(),
            "privlevel" => state.privilege_level = bytes[0] - b'0',
            _ => return Err(Errno::ENOENT.into()),
        }
        Ok(())
    }

    fn refuses(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap();
        match self.fails {
            Some((attribute, errno)) if name.starts_with(attribute) => Err(errno.into()),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone)]
struct Fake(Arc<Mutex<Driver>>);

impl Files for Fake {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut driver = self.0.lock().unwrap();
        driver.refuses(path)?;
        assert!(driver.requests.insert(path.to_owned(), RequestState::default()).is_none());
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().requests.remove(path).map(drop).ok_or(Errno::ENOENT.into())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut driver = self.0.lock().unwrap();
        driver.refuses(path)?;
        driver.answer(path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut driver = self.0.lock().unwrap();
        driver.refuses(path)?;
        driver.take(path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap(), bytes)
    }
}

type Shared = Arc<Mutex<Driver>>;

fn open(driver: Driver) -> (Result<ConfigfsTsm, PlatformError>, Shared) {
    let state = Arc::new(Mutex::new(driver));
    (ConfigfsTsm::with_files("/fake".into(), Box::new(Fake(Arc::clone(&state)))), state)
}

fn platform(driver: Driver) -> (ConfigfsTsm, Shared) {
    let (platform, state) = open(driver);
    (platform.unwrap(), state)
}

fn refused(driver: Driver) -> (PlatformError, Shared) {
    let (platform, state) = open(driver);
    (platform.unwrap_err(), state)
}
