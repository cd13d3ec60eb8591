//! The table of GUIDed blocks at the end of an image.

use super::{FirmwareError, Span};

/// Blocks by GUID, each with its data and without its own header.
pub(super) struct Table<'a>(Vec<([u8; 16], Span<'a>)>);

impl<'a> Table<'a> {
    /// Walks backwards from the footer: each block's size and GUID stand behind its data.
    pub(super) fn parse(image: &'a [u8]) -> Result<Self, FirmwareError> {
        let mut rest = blocks(image)?;
        let mut table = Self(Vec::new());
        while !rest.bytes.is_empty() {
            let (before, mut header) = rest.split_end(HEADER).ok_or_else(|| leftover(rest))?;
            let (at, size) = (header.offset, header.u16("the size of a block")?.into());
            let guid = header.take("the GUID of a block")?;
            let data = usize::checked_sub(size, HEADER).and_then(|length| before.split_end(length));
            let (before, data) = data.ok_or_else(|| {
                let most = before.bytes.len() + HEADER;
                FirmwareError::at(at, format!("block size {size}"), format!("{HEADER} to {most} bytes"))
            })?;
            table.add(guid, data, at)?;
            rest = before;
        }
        Ok(table)
    }

    /// The 32-bit number at `index` of a block's data; `None` without such a block.
    pub(super) fn number(&self, guid: &[u8; 16], index: usize) -> Result<Option<u32>, FirmwareError> {
        let Some(block) = self.block(guid) else { return Ok(None) };
        let short =
            || FirmwareError::at(block.offset, format!("{} bytes", block.bytes.len()), "a longer block");
        let (_, mut tail) = block.split(index).ok_or_else(short)?;
        tail.u32("a number of 4 bytes").map(Some)
    }

    /// Where a block's data stands, for errors about it.
    pub(super) fn offset(&self, guid: &[u8; 16]) -> usize {
        self.block(guid).map_or(0, |block| block.offset)
    }

    fn block(&self, guid: &[u8; 16]) -> Option<Span<'a>> {
        self.0.iter().find(|(known, _)| known == guid).map(|(_, data)| *data)
    }

    fn add(&mut self, guid: [u8; 16], data: Span<'a>, at: usize) -> Result<(), FirmwareError> {
        if self.block(&guid).is_some() {
            let found = format!("a second block {}", hex_guid(&guid));
            return Err(FirmwareError::at(at, found, "each block once"));
        }
        self.0.push((guid, data));
        Ok(())
    }
}

/// All blocks, the footer cut off: its size counts itself and every block.
fn blocks(image: &[u8]) -> Result<Span<'_>, FirmwareError> {
    let end = image.len().saturating_sub(RESET_CODE);
    let footer = end.saturating_sub(HEADER);
    let mut header = Span::of(image, footer, HEADER, "the footer of OVMF's table")?;
    let size = usize::from(header.u16("the size of OVMF's table")?);
    let guid = header.take("the GUID of OVMF's table")?;
    if guid != FOOTER {
        let expected =
            format!("the GUID {} that ends OVMF's table: is this an OVMF image?", hex_guid(&FOOTER));
        return Err(FirmwareError::at(footer + 2, format!("GUID {}", hex_guid(&guid)), expected));
    }
    let length = size.checked_sub(HEADER).filter(|length| *length <= footer);
    let length = length.ok_or_else(|| {
        FirmwareError::at(footer, format!("table size {size}"), format!("{HEADER} to {end} bytes"))
    })?;
    Span::of(image, footer - length, length, "the blocks of OVMF's table")
}

fn leftover(rest: Span<'_>) -> FirmwareError {
    let found = format!("{} bytes before the first block of the table", rest.bytes.len());
    FirmwareError::at(rest.offset, found, "none")
}

/// A GUID as it stands in memory: its first three parts are little-endian numbers, the other eight bytes as written.
pub(crate) const fn guid(written: u128) -> [u8; 16] {
    turned(written.to_be_bytes())
}

/// From writing to memory, and back.
const fn turned(b: [u8; 16]) -> [u8; 16] {
    [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
}

/// As people write it.
fn hex_guid(guid: &[u8; 16]) -> String {
    let written = format!("{:032x}", u128::from_be_bytes(turned(*guid)));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| written.get(part).unwrap_or_default());
    parts.join("-")
}

/// Size and GUID of a block.
const HEADER: usize = 2 + 16;
/// The code at the reset vector, behind the table.
const RESET_CODE: usize = 32;
/// Ends the table.
const FOOTER: [u8; 16] = guid(0x96b5_82de_1fb2_45f7_baea_a366_c55a_082d);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_stand_in_memory_as_uefi_has_it() {
        let footer =
            [0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 8, 0x2d];
        assert_eq!(FOOTER, footer);
        assert_eq!(hex_guid(&FOOTER), "96b582de-1fb2-45f7-baea-a366c55a082d");
    }
}
