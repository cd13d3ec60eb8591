//! The files: `audit-` and the `seq` of its first record in 20 digits, `.jsonl`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    /// `seq` of its first record.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn new(folder: &Path, first: u64) -> Self {
        Self { first, path: folder.join(format!("audit-{first:020}.jsonl")) }
    }

    /// The segment at `path`, where its name is one.
    pub(crate) fn named(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
        let decimal = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let first = digits.parse().ok().filter(|_| decimal)?;
        Some(Self { first, path: path.to_owned() })
    }

    /// Those in `folder`, oldest first.
    pub(crate) fn list(folder: &Path) -> io::Result<Vec<Self>> {
        let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let paths = paths.collect::<io::Result<Vec<_>>>()?;
        let mut segments: Vec<_> = paths.iter().filter_map(|path| Self::named(path)).collect();
        segments.sort();
        Ok(segments)
    }
}
