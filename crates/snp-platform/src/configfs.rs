//! Reports through configfs-tsm (Linux `Documentation/ABI/testing/configfs-tsm-report`).
//!
//! A directory made under the root is one request: `inblob` takes the report data, `outblob` gives the report and
//! `auxblob` the host's certificate table. The kernel counts every write to a request in `generation`; a count
//! that moved by more than our own write means that somebody else wrote, and the blobs may answer them, not us.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use snp_evidence::{Endorsements, Evidence, EvidenceFormat};

use crate::{Platform, PlatformError, endorsements_from_table};

/// Where Linux has configfs-tsm.
pub const CONFIGFS_ROOT: &str = "/sys/kernel/config/tsm/report";

/// The configfs-tsm interface below one root directory.
#[derive(Debug)]
pub struct ConfigfsTsm {
    root: PathBuf,
    files: Box<dyn Files>,
}

impl ConfigfsTsm {
    /// Makes sure that an SEV-SNP guest driver answers at `root`, normally [`CONFIGFS_ROOT`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, PlatformError> {
        Self::with_files(root.into(), Box::new(Kernel))
    }

    fn with_files(root: PathBuf, files: Box<dyn Files>) -> Result<Self, PlatformError> {
        let this = Self { root, files };
        Request::new(&this)?;
        Ok(this)
    }
}

impl Platform for ConfigfsTsm {
    fn format(&self) -> EvidenceFormat {
        EvidenceFormat::AmdSevSnp
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        let request = Request::new(self)?;
        for _ in 0..ATTEMPTS {
            if let Some(Blobs { report, table }) = request.attempt(report_data)? {
                let endorsements = readable_endorsements(&table, signed_by_loaded_key(&report));
                return Ok(Evidence { format: self.format(), report, endorsements });
            }
        }
        Err(PlatformError::Busy { place: request.place("generation") })
    }
}

/// The kernel's answer to one request.
struct Blobs {
    report: Vec<u8>,
    table: Vec<u8>,
}

/// One request directory; removed on drop.
struct Request<'a> {
    files: &'a dyn Files,
    path: PathBuf,
}

impl<'a> Request<'a> {
    fn new(tsm: &'a ConfigfsTsm) -> Result<Self, PlatformError> {
        // A random name: a restarted process must not meet what a killed one left behind.
        let name = format!("cube-{:016x}", RandomState::new().build_hasher().finish());
        let path = tsm.root.join(name);
        tsm.files.create_dir(&path).map_err(|source| {
            PlatformError::from_io(tsm.root.display().to_string(), "make a request in", source)
        })?;
        let request = Self { files: tsm.files.as_ref(), path };
        request.require_sev_guest()?;
        request.set_privilege_level()?;
        Ok(request)
    }

    /// The same directory serves TDX and CCA guests, whose blobs are other things.
    fn require_sev_guest(&self) -> Result<(), PlatformError> {
        let provider = self.text("provider")?;
        if provider == PROVIDER {
            return Ok(());
        }
        Err(PlatformError::Absent {
            place: format!("{} (the provider is {provider:?})", self.place("provider")),
        })
    }

    /// A guest under an SVSM may only ask for its own, less privileged VMPL; older kernels have no floor.
    fn set_privilege_level(&self) -> Result<(), PlatformError> {
        match self.text("privlevel_floor") {
            Err(PlatformError::Absent { .. }) => Ok(()),
            Ok(floor) if floor == "0" => Ok(()),
            Ok(floor) => self.write("privlevel", floor.as_bytes()),
            Err(error) => Err(error),
        }
    }

    /// The answer, or nothing if somebody else wrote in between.
    fn attempt(&self, report_data: &[u8; 64]) -> Result<Option<Blobs>, PlatformError> {
        let before = self.generation()?;
        self.write("inblob", report_data)?;
        let report = self.read("outblob")?;
        let table = self.read("auxblob")?;
        if self.generation()? != before.wrapping_add(1) {
            return Ok(None);
        }
        if report.len() != REPORT_LEN {
            let place = self.place("outblob");
            let problem = format!("{place} holds {} bytes where a report has {REPORT_LEN}", report.len());
            return Err(PlatformError::Malformed(problem));
        }
        Ok(Some(Blobs { report, table }))
    }

    fn generation(&self) -> Result<u64, PlatformError> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| {
            PlatformError::Malformed(format!("{} holds {text:?}, not a number", self.place("generation")))
        })
    }

    fn text(&self, attribute: &str) -> Result<String, PlatformError> {
        let bytes = self.read(attribute)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    fn read(&self, attribute: &str) -> Result<Vec<u8>, PlatformError> {
        self.files
            .read(&self.path.join(attribute))
            .map_err(|source| PlatformError::from_io(self.place(attribute), "read", source))
    }

    fn write(&self, attribute: &str, bytes: &[u8]) -> Result<(), PlatformError> {
        self.files
            .write(&self.path.join(attribute), bytes)
            .map_err(|source| PlatformError::from_io(self.place(attribute), "write", source))
    }

    fn place(&self, attribute: &str) -> String {
        self.path.join(attribute).display().to_string()
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.files.remove_dir(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "report request left behind");
        }
    }
}

/// An unreadable table is as good as none: the certificates may come from elsewhere, and where they do not,
/// verification says so.
fn readable_endorsements(table: &[u8], loaded_key: bool) -> Endorsements {
    endorsements_from_table(table, loaded_key).unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's certificate table is ignored");
        Endorsements::default()
    })
}

/// `SIGNING_KEY`, bits 2 to 4 of the u32 at 0x48 (AMD document 56860): 1 is the VLEK. Only picks which certificate
/// travels along; verification reads it anew.
fn signed_by_loaded_key(report: &[u8]) -> bool {
    report.get(0x48).is_some_and(|flags| (flags >> 2) & 7 == 1)
}

/// What a request does to the file system; a seam, because no test can register a driver with configfs.
trait Files: Debug + Send + Sync {
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// At most [`MAX_ATTRIBUTE`] bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// All in one call: the kernel takes an attribute write as a whole.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

#[derive(Debug)]
struct Kernel;

impl Files for Kernel {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_ATTRIBUTE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_ATTRIBUTE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all(bytes)
    }
}

const PROVIDER: &str = "sev_guest";
const REPORT_LEN: usize = 1184;
/// How often a lost race is run again.
const ATTEMPTS: usize = 8;
/// Far above a certificate table, which the kernel limits to 16 KiB.
const MAX_ATTRIBUTE: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
