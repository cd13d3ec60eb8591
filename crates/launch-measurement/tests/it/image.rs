//! A small OVMF image, built block by block, so that each part can be forged.

/// GUIDs as they stand in memory.
pub(crate) const FOOTER: [u8; 16] = *b"\xde\x82\xb5\x96\xb2\x1f\xf7\x45\xba\xea\xa3\x66\xc5\x5a\x08\x2d";
pub(crate) const RESET: [u8; 16] = *b"\xde\x71\xf7\x00\x7e\x1a\xcb\x4f\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e";
pub(crate) const HASHES: [u8; 16] = *b"\x1f\x37\x55\x72\x3b\x3a\x04\x4b\x92\x7b\x1d\xa6\xef\xa8\xd4\x54";
pub(crate) const METADATA: [u8; 16] = *b"\x66\x65\x88\xdc\x4a\x98\x98\x47\xa7\x5e\x55\x85\xa7\xbf\x67\xcc";

pub(crate) const MEMORY: u32 = 1;
pub(crate) const SECRETS: u32 = 2;
pub(crate) const CPUID: u32 = 3;
pub(crate) const SVSM: u32 = 4;
pub(crate) const KERNEL: u32 = 0x10;

/// What the image says; the default is what a sound one says.
pub(crate) struct Image {
    pub(crate) pages: usize,
    /// Address, size, type.
    pub(crate) sections: Vec<[u32; 3]>,
    /// GUID and data, the last one nearest to the end.
    pub(crate) blocks: Vec<([u8; 16], Vec<u8>)>,
    pub(crate) version: u32,
    pub(crate) signature: [u8; 4],
    /// Added to the metadata's own size.
    pub(crate) surplus: u32,
}

impl Image {
    pub(crate) fn new() -> Self {
        Self {
            pages: 2,
            sections: vec![
                [0x80_0000, 0x3000, MEMORY],
                [0x80_3000, 0x1000, SECRETS],
                [0x80_4000, 0x1000, CPUID],
                [0x80_5000, 0x1000, SVSM],
                [0x80_6000, 0x1000, KERNEL],
                [0x80_7000, 0x2000, MEMORY],
            ],
            blocks: vec![
                (METADATA, le(&[METADATA_DISTANCE])),
                (HASHES, le(&[0x80_6C00, 0x400])),
                (RESET, le(&[0x0080_B004])),
            ],
            version: 1,
            signature: *b"ASEV",
            surplus: 0,
        }
    }

    pub(crate) fn block(mut self, guid: [u8; 16], data: &[u32]) -> Self {
        self.blocks.retain(|(known, _)| *known != guid);
        self.blocks.push((guid, le(data)));
        self
    }

    pub(crate) fn without(mut self, guid: [u8; 16]) -> Self {
        self.blocks.retain(|(known, _)| *known != guid);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut image: Vec<u8> =
            (0..self.pages * 4096).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        let start = image.len() - METADATA_DISTANCE as usize;
        image[start..start + 4].copy_from_slice(&self.signature);
        let count = u32::try_from(self.sections.len()).unwrap();
        let header = le(&[16 + 12 * count + self.surplus, self.version, count]);
        image[start + 4..start + 16].copy_from_slice(&header);
        let items: Vec<u8> = self.sections.iter().flat_map(|section| le(section)).collect();
        image[start + 16..start + 16 + items.len()].copy_from_slice(&items);
        let table = self.table();
        let end = image.len() - 32;
        image[end - table.len()..end].copy_from_slice(&table);
        image
    }

    fn table(&self) -> Vec<u8> {
        let mut table = Vec::new();
        for (guid, data) in &self.blocks {
            table.extend(data);
            table.extend(u16::try_from(data.len() + 18).unwrap().to_le_bytes());
            table.extend(guid);
        }
        table.extend(u16::try_from(table.len() + 18).unwrap().to_le_bytes());
        table.extend(FOOTER);
        table
    }
}

fn le(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

const METADATA_DISTANCE: u32 = 0x800;
