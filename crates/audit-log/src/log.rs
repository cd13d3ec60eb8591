//! Appending: on disk before it is answered, one segment after the other.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::chain::Chain;
use crate::record::{Event, Hash, MAX_LINE, Record, Stamp};
use crate::segment::Segment;
use crate::verify::{VerifyError, Walk};

/// Bounds on the files: together at most `segment_bytes` × `segments`, and a few records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment of this size or larger is followed by the next.
    pub segment_bytes: u32,
    /// Segments that are kept, the one that is written included; at least 2.
    pub segments: u32,
}

impl Default for Limits {
    /// 16 MiB: some 40,000 records, or two weeks of two services at work.
    fn default() -> Self {
        Self { segment_bytes: 1024 * 1024, segments: 16 }
    }
}

/// A log that is open for appending; one process at a time.
#[derive(Debug)]
pub struct AuditLog {
    folder: PathBuf,
    /// So that the folder has one writer.
    lock: Lock,
    limits: Limits,
    chain: Chain,
    file: File,
    /// Bytes of `file` that are whole records on disk.
    length: u64,
    /// There may be more in `file` than that.
    dirty: bool,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An operation on a path failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Not a folder that only its owner may enter.
    #[error("{} must be a folder that only its owner may enter; run `chmod 700` on it", .0.display())]
    NotPrivate(PathBuf),
    /// The folder is another user's.
    #[error("{} belongs to uid {owner}; it must be attestation-svc's own", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another process writes there.
    #[error("another attestation-svc writes to {}; stop it first", .0.display())]
    InUse(PathBuf),
    /// What is there is no whole log.
    #[error("{0}; keep the folder for whoever examines it, and name another")]
    Broken(#[from] VerifyError),
}

impl AuditLog {
    /// Opens the log in `folder`, making the folder where there is none. Follows the whole chain, and cuts
    /// off the line that a crash left unfinished.
    pub fn open(folder: &Path, limits: Limits, now: Stamp) -> Result<Self, OpenError> {
        check_folder(folder)?;
        let lock = lock(folder)?;
        let segments = Segment::list(folder).map_err(|source| failed("list", folder, source))?;
        let mut walk = Walk::default();
        for segment in &segments {
            walk.segment(segment, |_| ())?;
        }
        let chain = walk.chain.unwrap_or(Chain::START);
        let segment = segments.last().cloned().unwrap_or_else(|| Segment::new(folder, chain.next));
        let file = open(&segment.path).map_err(|source| failed("open", &segment.path, source))?;
        if segments.is_empty() {
            lock.0.sync_all().map_err(|source| failed("flush", folder, source))?;
        }
        let size = file.metadata().map_err(|source| failed("examine", &segment.path, source))?.len();
        let cut_bytes = walk.torn.map_or(0, |torn| torn.bytes);
        let length = size.saturating_sub(cut_bytes);
        let folder = folder.to_owned();
        let mut log = Self { folder, lock, limits, chain, file, length, dirty: cut_bytes > 0 };
        let repaired = [Event::Repaired { cut_bytes }];
        let repaired = if cut_bytes > 0 { repaired.as_slice() } else { &[] };
        log.append(repaired, now).map_err(|source| failed("write to", &segment.path, source))?;
        Ok(log)
    }

    /// Appends `events`, and returns when they are on disk. After an error none of them is in the log.
    pub fn append(&mut self, events: &[Event], now: Stamp) -> io::Result<()> {
        self.clean()?;
        if self.length >= u64::from(self.limits.segment_bytes) {
            self.next_segment(now)?;
        }
        let (chain, lines) = spelled(self.chain, events, now)?;
        self.dirty = true;
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()?;
        (self.dirty, self.chain) = (false, chain);
        self.length = self.length.saturating_add(lines.len() as u64);
        Ok(())
    }

    /// `seq` of the last record, 0 where there is none, and its hash.
    pub fn head(&self) -> (u64, Hash) {
        (self.chain.next.saturating_sub(1), self.chain.head)
    }

    /// Takes back what a failed [`AuditLog::append`] left, and sees that the file is one still.
    fn clean(&mut self) -> io::Result<()> {
        if self.file.metadata()?.nlink() == 0 {
            return Err(io::Error::other("the segment that is written was removed; restart attestation-svc"));
        }
        if self.dirty {
            self.file.set_len(self.length)?;
            self.file.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Begins a segment with the hash of the last one's head, and removes the oldest.
    fn next_segment(&mut self, now: Stamp) -> io::Result<()> {
        let segments = Segment::list(&self.folder)?;
        let most = usize::try_from(self.limits.segments.max(2)).unwrap_or(usize::MAX);
        let (old, kept) = segments.split_at((segments.len() + 1).saturating_sub(most));
        let oldest = kept.first().map_or(self.chain.next, |segment| segment.first);
        let (chain, line) = spelled(self.chain, &[Event::Segment { oldest }], now)?;
        let segment = Segment::new(&self.folder, self.chain.next);
        let mut file = open(&segment.path)?;
        // An attempt that failed may have left a part of the line.
        file.set_len(0)?;
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        self.lock.0.sync_all()?;
        (self.chain, self.file, self.length) = (chain, file, line.len() as u64);
        old.iter().try_for_each(|segment| fs::remove_file(&segment.path))
    }
}

/// `events` as the next lines of `chain`.
fn spelled(mut chain: Chain, events: &[Event], now: Stamp) -> io::Result<(Chain, String)> {
    let mut lines = String::new();
    for event in events {
        let (line, head) = Record::write(chain.next, now, chain.head, event.clone())?;
        if line.len() > MAX_LINE {
            return Err(io::Error::other(format!(
                "a record is longer than {MAX_LINE} bytes; this is a defect"
            )));
        }
        lines.push_str(&line);
        chain = Chain { next: chain.next.saturating_add(1), head };
    }
    Ok((chain, lines))
}

/// What is recorded says when services start and stop, and who administers them.
fn check_folder(folder: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(folder);
    made.map_err(|source| failed("create", folder, source))?;
    let facts = fs::symlink_metadata(folder).map_err(|source| failed("examine", folder, source))?;
    if !facts.is_dir() || facts.mode() & 0o077 != 0 {
        return Err(OpenError::NotPrivate(folder.to_owned()));
    }
    if facts.uid() != geteuid().as_raw() {
        return Err(OpenError::Foreign { path: folder.to_owned(), owner: facts.uid() });
    }
    Ok(())
}

/// The folder itself, locked; and flushed, so that new names in it last.
#[derive(Debug)]
struct Lock(File);

/// Closing alone would not do: a child that a thread has forked holds a copy until it executes its program.
impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

fn lock(folder: &Path) -> Result<Lock, OpenError> {
    let file = File::open(folder).map_err(|source| failed("open", folder, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed("lock", folder, source)),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
pub(crate) mod faults {
    use super::*;

    /// Puts `file` in place of the segment's, as a disk that is full from now on, and gives that back.
    pub(crate) fn swap(log: &mut AuditLog, file: File) -> File {
        std::mem::replace(&mut log.file, file)
    }
}
