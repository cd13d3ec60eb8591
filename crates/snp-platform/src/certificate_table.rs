//! The certificate table that a host puts beside a report (AMD document 56421, GHCB, `SNP Extended Guest Request`).
//!
//! The table is headers of 24 bytes (GUID, u32 offset, u32 length, little-endian) up to an all-zero header, then
//! the certificates. All of it comes from the host, which is the attacker here.

use std::ops::Range;

use snp_evidence::{Endorsements, Vek};

/// Why a table is unreadable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// No all-zero header ends the list.
    #[error("certificate table of {0} bytes has no end")]
    Endless(usize),
    /// An entry points outside of the table.
    #[error("entry {index} of the certificate table reaches byte {end}, the table has {length}")]
    OutOfBounds {
        /// Position in the list, from 0.
        index: usize,
        /// Where the entry would end.
        end: usize,
        /// Length of the whole table.
        length: usize,
    },
    /// An entry shares bytes with the headers or with another entry.
    #[error("entries of the certificate table overlap at byte {0}")]
    Overlap(usize),
    /// Two entries of one kind.
    #[error("certificate table has two entries of kind {0}")]
    Duplicate(&'static str),
}

/// The certificates of a table, for a report that a loaded key (VLEK) signed, or else the chip's (VCEK).
///
/// An empty table has none. Entries of unknown kind are passed over. There is no kind for the ASVK: hosts give it
/// as ASK to guests whose reports a VLEK signs.
pub fn endorsements_from_table(table: &[u8], loaded_key: bool) -> Result<Endorsements, TableError> {
    let entries = entries(table)?;
    let take = |kind| only(&entries, kind);
    let (ark, crl, issuer) = (take(Kind::Ark)?, take(Kind::Crl)?, take(Kind::Ask)?);
    Ok(if loaded_key {
        Endorsements { vek: take(Kind::Vlek)?.map(Vek::Vlek), ask: None, asvk: issuer, ark, crl }
    } else {
        Endorsements { vek: take(Kind::Vcek)?.map(Vek::Vcek), ask: issuer, asvk: None, ark, crl }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ark,
    Ask,
    Vcek,
    Vlek,
    Crl,
    Unknown,
}

impl Kind {
    /// GUIDs stand in the order in which they are written, not in the mixed order of UEFI.
    fn of(guid: [u8; 16]) -> Self {
        match u128::from_be_bytes(guid) {
            0xc0b406a4_a803_4952_9743_3fb6014cd0ae => Self::Ark,
            0x4ab7b379_bbac_4fe4_a02f_05aef327c782 => Self::Ask,
            0x63da758d_e664_4564_adc5_f4b93be8accd => Self::Vcek,
            0xa8074bc2_a25a_483e_aae6_39c045a0b8a1 => Self::Vlek,
            0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea => Self::Crl,
            _ => Self::Unknown,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ark => "ARK",
            Self::Ask => "ASK",
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::Crl => "CRL",
            Self::Unknown => "unknown",
        }
    }
}

struct Entry<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

fn entries(table: &[u8]) -> Result<Vec<Entry<'_>>, TableError> {
    if table.is_empty() {
        return Ok(Vec::new());
    }
    let (headers, _) = table.as_chunks::<HEADER_LEN>();
    let count = headers
        .iter()
        .position(|header| *header == [0; HEADER_LEN])
        .ok_or(TableError::Endless(table.len()))?;
    let mut entries = Vec::with_capacity(count);
    let mut taken = Vec::with_capacity(count + 1);
    taken.push(0..(count + 1) * HEADER_LEN);
    for (index, header) in headers.iter().take(count).enumerate() {
        let (kind, range) = read(header);
        let out_of_bounds = TableError::OutOfBounds { index, end: range.end, length: table.len() };
        let bytes = table.get(range.clone()).ok_or(out_of_bounds)?;
        entries.push(Entry { kind, bytes });
        taken.push(range);
    }
    refuse_overlap(taken)?;
    Ok(entries)
}

fn read(header: &[u8; HEADER_LEN]) -> (Kind, Range<usize>) {
    let [guid @ .., o0, o1, o2, o3, l0, l1, l2, l3] = *header;
    // Saturation keeps an absurd entry out of bounds where usize is 32 bits.
    let size = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    let start = size([o0, o1, o2, o3]);
    (Kind::of(guid), start..start.saturating_add(size([l0, l1, l2, l3])))
}

fn refuse_overlap(mut taken: Vec<Range<usize>>) -> Result<(), TableError> {
    taken.retain(|range| !range.is_empty());
    taken.sort_by_key(|range| range.start);
    let mut end = 0;
    for range in taken {
        if range.start < end {
            return Err(TableError::Overlap(range.start));
        }
        end = range.end;
    }
    Ok(())
}

/// The one non-empty entry of this kind.
fn only(entries: &[Entry<'_>], kind: Kind) -> Result<Option<Vec<u8>>, TableError> {
    let mut found = entries.iter().filter(|entry| entry.kind == kind && !entry.bytes.is_empty());
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(TableError::Duplicate(kind.name())),
        (first, None) => Ok(first.map(|entry| entry.bytes.to_vec())),
    }
}

const HEADER_LEN: usize = 24;

#[cfg(test)]
pub(crate) mod tests;
