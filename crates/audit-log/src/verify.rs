//! Reads a log again, from its oldest record to its head.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::chain::{Broken, Chain};
use crate::record::{Event, Hash, MAX_LINE, Record};
use crate::segment::Segment;

/// A whole chain, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Files read.
    pub segments: usize,
    /// `seq` of the oldest record that is kept; those before it were removed with their segments.
    pub oldest: u64,
    /// `seq` of the last record.
    pub last: u64,
    /// Hash of the last record.
    pub head: Hash,
    /// Records of each kind.
    pub events: BTreeMap<String, u64>,
    /// `seq` of the record with the hash that was looked for.
    pub known: Option<u64>,
}

/// Why a log was not found whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The operating system says no.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// No record is there.
    #[error("there is no record in {}", .0.display())]
    Empty(PathBuf),
    /// The oldest segments were not removed by attestation-svc.
    #[error("{}: record {oldest} must be there, and the oldest is {found}: a segment was removed", folder.display())]
    Removed {
        /// The folder.
        folder: PathBuf,
        /// `seq` of the oldest record that was kept.
        oldest: u64,
        /// `seq` of the oldest record that is there.
        found: u64,
    },
    /// This is the first bad line.
    #[error("{}, line {line}: {broken}", path.display())]
    Broken {
        /// The segment.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        broken: Broken,
    },
}

/// Follows the chain through `paths`, each a segment or a folder of segments, in this order. Looks for
/// the record with the hash `known` on its way.
pub fn verify(paths: &[PathBuf], known: Option<Hash>) -> Result<Summary, VerifyError> {
    let mut walk = Walk::default();
    let mut found = Found::default();
    for segment in segments(paths)? {
        walk.segment(&segment, |record| found.see(record, known))?;
    }
    if let Some(torn) = walk.torn {
        return Err(torn.into_error());
    }
    let empty = || VerifyError::Empty(paths.first().cloned().unwrap_or_default());
    let (chain, oldest) = walk.chain.zip(found.oldest).ok_or_else(empty)?;
    match paths {
        [folder] if folder.is_dir() && oldest > found.claimed => {
            Err(VerifyError::Removed { folder: folder.clone(), oldest: found.claimed, found: oldest })
        }
        _ => Ok(Summary {
            segments: walk.segments,
            oldest,
            last: chain.next.saturating_sub(1),
            head: chain.head,
            events: found.events,
            known: found.known,
        }),
    }
}

/// What the records of a walk say.
#[derive(Debug)]
struct Found {
    oldest: Option<u64>,
    /// The oldest that there must be.
    claimed: u64,
    events: BTreeMap<String, u64>,
    known: Option<u64>,
}

impl Default for Found {
    fn default() -> Self {
        Self { oldest: None, claimed: 1, events: BTreeMap::new(), known: None }
    }
}

impl Found {
    fn see(&mut self, record: &Record, known: Option<Hash>) {
        self.oldest.get_or_insert(record.seq);
        if let Event::Segment { oldest } = record.event {
            self.claimed = oldest;
        }
        if Some(record.hash) == known {
            self.known = Some(record.seq);
        }
        let count = self.events.entry(kind(&record.event)).or_default();
        *count = count.saturating_add(1);
    }
}

fn segments(paths: &[PathBuf]) -> Result<Vec<Segment>, VerifyError> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(Segment::list(path).map_err(|source| unread(path, source))?);
        } else {
            // Under another name a segment begins where it begins.
            all.push(Segment::named(path).unwrap_or(Segment { first: 0, path: path.clone() }));
        }
    }
    Ok(all)
}

/// The name of an event, as it is written.
fn kind(event: &Event) -> String {
    let name = match event {
        Event::Boot { .. } => "boot",
        Event::Verdict { .. } => "verdict",
        Event::Standing { .. } => "standing",
        Event::Rotation { .. } => "rotation",
        Event::ClockJump { .. } => "clock_jump",
        Event::Enrolled { .. } => "enrolled",
        Event::Refused { .. } => "refused",
        Event::Grants { .. } => "grants",
        Event::Admin { .. } => "admin",
        Event::Segment { .. } => "segment",
        Event::Repaired { .. } => "repaired",
        Event::Stopped { .. } => "stopped",
    };
    name.to_owned()
}

/// On its way through segments.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) chain: Option<Chain>,
    /// The unfinished last line of the last segment.
    pub(crate) torn: Option<Torn>,
    pub(crate) segments: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Torn {
    path: PathBuf,
    line: u64,
    pub(crate) bytes: u64,
}

impl Torn {
    fn into_error(self) -> VerifyError {
        VerifyError::Broken { path: self.path, line: self.line, broken: Broken::Torn(self.bytes) }
    }
}

impl Walk {
    /// Reads one more segment. Only the last may end in an unfinished line.
    pub(crate) fn segment(
        &mut self,
        segment: &Segment,
        mut seen: impl FnMut(&Record),
    ) -> Result<(), VerifyError> {
        if let Some(torn) = self.torn.take() {
            return Err(torn.into_error());
        }
        let path = &segment.path;
        let mut file = BufReader::new(File::open(path).map_err(|source| unread(path, source))?);
        self.segments += 1;
        for line in 1.. {
            let broken = |broken| VerifyError::Broken { path: path.clone(), line, broken };
            let bytes = next_line(&mut file).map_err(|source| unread(path, source))?;
            match bytes.split_last() {
                None => break,
                Some((b'\n', text)) => {
                    let (chain, record) = Chain::accept(self.chain, text).map_err(broken)?;
                    if line == 1 && ![record.seq, 0].contains(&segment.first) {
                        return Err(broken(Broken::Name(record.seq)));
                    }
                    self.chain = Some(chain);
                    seen(&record);
                }
                Some(_) => {
                    let rest = without_end(&mut file).map_err(|source| unread(path, source))?;
                    let rest = rest.ok_or_else(|| broken(Broken::Long))?;
                    let bytes = rest.saturating_add(bytes.len() as u64);
                    self.torn = Some(Torn { path: path.clone(), line, bytes });
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A line with its end, or as much of it as no record is long.
fn next_line(file: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    file.take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// How many bytes are left, unless there is another end of line among them.
fn without_end(file: &mut impl BufRead) -> io::Result<Option<u64>> {
    let mut bytes = 0_u64;
    loop {
        let buffer = file.fill_buf()?;
        match buffer.len() {
            0 => return Ok(Some(bytes)),
            _ if buffer.contains(&b'\n') => return Ok(None),
            read => {
                bytes = bytes.saturating_add(read as u64);
                file.consume(read);
            }
        }
    }
}

fn unread(path: &Path, source: io::Error) -> VerifyError {
    VerifyError::Read { path: path.to_owned(), source }
}
