//! Reports through configfs-tsm (Linux `Documentation/ABI/testing/configfs-tsm-report`).
//!
//! A directory made under the root is one request: `inblob` takes the report data, `outblob` gives the report and
//! `auxblob` the host's certificate table. The kernel counts every write to a request in `generation`; a count
//! that moved by more than our own write means that somebody else wrote, and the blobs may answer them, not us, or
//! one of them each.
//!
//! A process that is killed leaves its request behind. Each request is locked by the process that made it, and the
//! lock ends with the process: the next one to start removes the requests of our name that it can lock, and no other.

use std::{
    ffi::OsStr,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    path::{Path, PathBuf},
};

use snp_evidence::{Evidence, EvidenceFormat};

use crate::{
    Platform, PlatformError, answer,
    files::{self, Files, Lock},
};

/// Where Linux has configfs-tsm.
pub const CONFIGFS_ROOT: &str = "/sys/kernel/config/tsm/report";

/// The configfs-tsm interface below one root directory.
#[derive(Debug)]
pub struct ConfigfsTsm {
    root: PathBuf,
    files: Box<dyn Files>,
}

impl ConfigfsTsm {
    /// Makes sure that an SEV-SNP guest driver takes requests at `root`, normally [`CONFIGFS_ROOT`], and removes the
    /// requests of processes that are no more.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, PlatformError> {
        Self::with_files(root.into(), Box::new(files::Kernel))
    }

    fn with_files(root: PathBuf, files: Box<dyn Files>) -> Result<Self, PlatformError> {
        let this = Self { root, files };
        // Whoever may make a request may not always write to it. A report is made only when one is read.
        Request::new(&this)?.write("inblob", &[0; 64])?;
        this.remove_leftovers();
        Ok(this)
    }

    fn remove_leftovers(&self) {
        for name in self.files.list(&self.root).unwrap_or_default().iter().filter(|name| is_ours(name)) {
            let path = self.root.join(name);
            // Whose lock cannot be had is alive, or is no longer there.
            if let Ok(Some(_held)) = self.files.lock(&path) {
                tracing::info!(path = %path.display(), "removing the request of a process that is no more");
                self.remove(&path);
            }
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = self.files.remove_dir(path) {
            tracing::warn!(path = %path.display(), %error, "report request left behind");
        }
    }
}

impl Platform for ConfigfsTsm {
    fn format(&self) -> EvidenceFormat {
        answer::FORMAT
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        let request = Request::new(self)?;
        for _ in 0..ATTEMPTS {
            if let Some(Blobs { report, table }) = request.attempt(report_data)? {
                return answer::evidence(&request.place("outblob"), report_data, report, &table);
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
    tsm: &'a ConfigfsTsm,
    path: PathBuf,
    _lock: Option<Lock>,
}

impl<'a> Request<'a> {
    fn new(tsm: &'a ConfigfsTsm) -> Result<Self, PlatformError> {
        let request = Self::make(tsm)?;
        request.require_sev_guest()?;
        request.set_privilege_level()?;
        Ok(request)
    }

    fn make(tsm: &'a ConfigfsTsm) -> Result<Self, PlatformError> {
        for _ in 0..ATTEMPTS {
            let path = tsm.root.join(random_name());
            tsm.files.create_dir(&path).map_err(|source| {
                PlatformError::from_io(tsm.root.display().to_string(), "make a request in", source)
            })?;
            match tsm.files.lock(&path) {
                // A process that starts takes it for a leftover.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // The lock only keeps others from tidying up: without, there is a report all the same.
                lock => return Ok(Self { tsm, path, _lock: lock.ok().flatten() }),
            }
        }
        Err(PlatformError::Busy { place: tsm.root.display().to_string() })
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
            Ok(floor) => match floor.as_str() {
                "0" => Ok(()),
                "1" | "2" | "3" => self.write("privlevel", floor.as_bytes()),
                _ => Err(self.malformed("privlevel_floor", &floor, "a VMPL from 0 to 3")),
            },
            Err(error) => Err(error),
        }
    }

    /// The answer, or nothing if somebody else wrote in between.
    fn attempt(&self, report_data: &[u8; 64]) -> Result<Option<Blobs>, PlatformError> {
        let before = self.generation()?;
        self.write("inblob", report_data)?;
        let blobs = self.blobs();
        // Whoever wrote in between may also be why there is no answer.
        if self.generation()? != before.wrapping_add(1) {
            return Ok(None);
        }
        blobs.map(Some)
    }

    fn blobs(&self) -> Result<Blobs, PlatformError> {
        let blob = |attribute| {
            let read = self.tsm.files.read(&self.path.join(attribute));
            read.map_err(|source| PlatformError::from_request(self.place(attribute), source))
        };
        Ok(Blobs { report: blob("outblob")?, table: blob("auxblob")? })
    }

    fn generation(&self) -> Result<u64, PlatformError> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| self.malformed("generation", &text, "a number"))
    }

    fn text(&self, attribute: &str) -> Result<String, PlatformError> {
        let read = self.tsm.files.read(&self.path.join(attribute));
        let bytes = read.map_err(|source| PlatformError::from_io(self.place(attribute), "read", source))?;
        Ok(files::text(&bytes))
    }

    fn write(&self, attribute: &str, bytes: &[u8]) -> Result<(), PlatformError> {
        self.tsm
            .files
            .write(&self.path.join(attribute), bytes)
            .map_err(|source| PlatformError::from_io(self.place(attribute), "write", source))
    }

    fn malformed(&self, attribute: &str, text: &str, expected: &str) -> PlatformError {
        PlatformError::Malformed(format!("{} holds {text:?}, not {expected}", self.place(attribute)))
    }

    fn place(&self, attribute: &str) -> String {
        self.path.join(attribute).display().to_string()
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.tsm.remove(&self.path);
    }
}

fn random_name() -> String {
    format!("{PREFIX}{:016x}", RandomState::new().build_hasher().finish())
}

fn is_ours(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

const PROVIDER: &str = "sev_guest";
/// What our requests are called by.
const PREFIX: &str = "cube-";
/// How often a lost race is run again.
const ATTEMPTS: usize = 8;

#[cfg(test)]
mod tests;
