//! What makes lines a chain.

use crate::record::{Hash, MAX_LINE, Record};

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) next: u64,
    pub(crate) head: Hash,
}

impl Chain {
    /// The chain without records.
    pub(crate) const START: Self = Self { next: 1, head: Hash::NONE };

    /// The record on `line` as the next of `chain`; where that is `None`, as the first that is kept.
    pub(crate) fn accept(chain: Option<Self>, line: &[u8]) -> Result<(Self, Record), Broken> {
        if line.len() >= MAX_LINE {
            return Err(Broken::Long);
        }
        let record = Record::read(line).ok_or(Broken::Form)?;
        let first = || Self { next: record.seq, head: record.prev };
        let Self { next, head } = chain.unwrap_or_else(first);
        if record.seq != next {
            return Err(Broken::Seq { expected: next, found: record.seq });
        }
        if record.prev != head || (record.seq == 1) != (record.prev == Hash::NONE) {
            return Err(Broken::Prev);
        }
        Ok((Self { next: next.saturating_add(1), head: record.hash }, record))
    }
}

/// Why a line is not the next of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Longer than any record.
    #[error("the line is {MAX_LINE} bytes or longer, and no record is")]
    Long,
    /// Altered, or never a record.
    #[error("the line is no record, or its bytes were altered: its hash does not fit")]
    Form,
    /// Records are missing, doubled or out of order.
    #[error(
        "record {expected} is next, and this is record {found}: records are missing, doubled or out of order"
    )]
    Seq {
        /// `seq` that would be next.
        expected: u64,
        /// `seq` of the line.
        found: u64,
    },
    /// The record before is not the one that this was written after.
    #[error("`prev` is not the hash of the record before: one of the two is of another log")]
    Prev,
    /// No end of line.
    #[error(
        "the last line breaks off after {0} bytes: attestation-svc is writing it, or was killed and cuts it off at \
         its next start"
    )]
    Torn(u64),
    /// The segment's name is not its first record's.
    #[error(
        "the segment begins with record {0}, and its name says otherwise: a segment is missing or was renamed"
    )]
    Name(u64),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{Event, Stamp};

    fn accept(seq: u64, prev: Hash) -> Result<Chain, Broken> {
        let now = Stamp { unix: 0, boot: Duration::ZERO };
        let (line, _) = Record::write(seq, now, prev, Event::Stopped { exit: 0 }).unwrap();
        Chain::accept(None, line.trim_end().as_bytes()).map(|(chain, _)| chain)
    }

    #[test]
    fn only_the_first_record_of_all_has_no_predecessor() {
        let other = Hash([1; 32]);
        assert_eq!(accept(1, Hash::NONE).unwrap().next, 2);
        assert_eq!(accept(7, other).unwrap().next, 8, "the first that is kept");
        assert_eq!(accept(1, other), Err(Broken::Prev));
        assert_eq!(accept(7, Hash::NONE), Err(Broken::Prev));
    }
}
