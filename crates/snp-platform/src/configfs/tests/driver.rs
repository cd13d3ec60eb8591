//! The kernel behind the directory, with faults on demand.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use nix::errno::Errno;

use super::super::*;

/// What the driver does, and what it was asked for.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) provider: &'static str,
    pub(super) floor: Option<&'static str>,
    pub(super) report_len: usize,
    pub(super) table: Vec<u8>,
    /// A report in place of those that are made.
    pub(super) recorded: Option<Vec<u8>>,
    /// Answers with the first report for ever.
    pub(super) replays: bool,
    /// How many answers somebody else's write comes before, and at which attribute.
    pub(super) intruders: usize,
    pub(super) intruded: &'static str,
    /// An attribute that answers with an error; `cube-` is the making of a request.
    pub(super) fails: Option<(&'static str, Errno)>,
    /// How many of our requests somebody else holds as soon as they are made.
    pub(super) snatched: usize,
    /// What locking answers with, where it cannot be had at all.
    pub(super) unlockable: Option<Errno>,
    pub(super) requests: HashMap<PathBuf, RequestState>,
    pub(super) locks: HashSet<PathBuf>,
    /// How many reports were made.
    pub(super) reports: usize,
    /// The next report waits until the sender is dropped, and says when it has begun to.
    pub(super) slow: Option<(Sender<()>, Receiver<()>)>,
}

#[derive(Debug, Default)]
pub(super) struct RequestState {
    generation: u64,
    inblob: Vec<u8>,
    privilege_level: u8,
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            provider: "sev_guest\n",
            floor: None,
            report_len: answer::REPORT_LEN,
            table: Vec::new(),
            recorded: None,
            replays: false,
            intruders: 0,
            intruded: "outblob",
            fails: None,
            snatched: 0,
            unlockable: None,
            requests: HashMap::new(),
            locks: HashSet::new(),
            reports: 0,
            slow: None,
        }
    }
}

impl Driver {
    /// Makes the next report wait; the receiver tells when somebody waits for it.
    pub(super) fn stall(&mut self) -> (Receiver<()>, Sender<()>) {
        let ((begun, waits), (go, gate)) = (channel(), channel());
        self.slow = Some((begun, gate));
        (waits, go)
    }

    fn answer(&mut self, request: &Path, attribute: &str) -> io::Result<Vec<u8>> {
        let state = self.requests.get_mut(request).ok_or(Errno::ENOENT)?;
        if attribute == self.intruded && self.intruders > 0 {
            self.intruders -= 1;
            state.generation += 1;
            state.inblob = vec![0xBA; 64];
        }
        match attribute {
            "provider" => Ok(self.provider.into()),
            "privlevel_floor" => Ok(self.floor.ok_or(Errno::ENOENT)?.into()),
            "generation" => Ok(format!("{}\n", state.generation).into()),
            "auxblob" => Ok(self.table.clone()),
            "outblob" => {
                self.reports += 1;
                let mut report = vec![0; 0x50];
                report[0x30] = state.privilege_level;
                report.extend(&state.inblob);
                report.resize(self.report_len, 0);
                let report = self.recorded.clone().unwrap_or(report);
                if self.replays {
                    self.recorded = Some(report.clone());
                }
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
        match self.fails {
            Some((attribute, errno)) if name(path).starts_with(attribute) => Err(errno.into()),
            _ => Ok(()),
        }
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

pub(super) type Shared = Arc<Mutex<Driver>>;

#[derive(Debug, Clone)]
pub(super) struct Fake(pub(super) Shared);

/// Ends with the process that holds it.
#[derive(Debug)]
struct Held(Shared, PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap().locks.remove(&self.1);
    }
}

impl Files for Fake {
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let driver = self.0.lock().unwrap();
        let below = driver.requests.keys().filter(|request| request.parent() == Some(path));
        Ok(below.map(|request| name(request).into()).collect())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut driver = self.0.lock().unwrap();
        driver.refuses(path)?;
        assert!(driver.requests.insert(path.to_owned(), RequestState::default()).is_none());
        if driver.snatched > 0 {
            driver.snatched -= 1;
            driver.locks.insert(path.to_owned());
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().requests.remove(path).map(drop).ok_or(Errno::ENOENT.into())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut driver = self.0.lock().unwrap();
        if let Some(errno) = driver.unlockable {
            return Err(errno.into());
        }
        if !driver.requests.contains_key(path) {
            return Err(Errno::ENOENT.into());
        }
        let taken = driver.locks.insert(path.to_owned());
        Ok(taken.then(|| Box::new(Held(Arc::clone(&self.0), path.to_owned())) as Lock))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let slow = if name(path) == "outblob" { self.0.lock().unwrap().slow.take() } else { None };
        if let Some((begun, gate)) = slow {
            begun.send(()).unwrap();
            gate.recv().unwrap_err();
        }
        let mut driver = self.0.lock().unwrap();
        driver.refuses(path)?;
        driver.answer(path.parent().unwrap(), name(path))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut driver = self.0.lock().unwrap();
        driver.refuses(path)?;
        driver.take(path.parent().unwrap(), name(path), bytes)
    }
}

pub(super) fn open(state: &Shared) -> Result<ConfigfsTsm, PlatformError> {
    ConfigfsTsm::with_files("/fake".into(), Box::new(Fake(Arc::clone(state))))
}

pub(super) fn platform(driver: Driver) -> (ConfigfsTsm, Shared) {
    let state = Arc::new(Mutex::new(driver));
    (open(&state).unwrap(), state)
}

pub(super) fn refused(driver: Driver) -> (PlatformError, Shared) {
    let state = Arc::new(Mutex::new(driver));
    (open(&state).unwrap_err(), state)
}
