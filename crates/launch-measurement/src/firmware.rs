//! OVMF images: where they lie, and what their tables ask the hypervisor to prepare.
//!
//! An image ends with a table of GUIDed blocks, written backwards from 32 bytes before its end (EDK II,
//! `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`). One block points to the SEV metadata: the sections of memory that
//! `SNP_LAUNCH_UPDATE` has to add beside the image (`OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`). The image is an
//! untrusted file: whatever does not fit is an error, never a guess.

mod metadata;
mod table;

use crate::{PAGE, kernel::PADDED_TABLE_SIZE, span::Span};

pub(crate) use metadata::{Section, SectionType};
use table::Table;
pub(crate) use table::guid;

/// An image whose tables are sound.
#[derive(Clone, Debug)]
pub struct Firmware<'a> {
    image: &'a [u8],
    sections: Vec<Section>,
    reset_address: Option<u32>,
    kernel_hashes: Option<usize>,
}

/// Where an image is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at offset {offset:#x}: found {found}, expected {expected}")]
pub struct FirmwareError {
    /// Bytes from the start of the image.
    pub offset: usize,
    /// What stands there.
    pub found: String,
    /// What has to stand there.
    pub expected: String,
}

impl FirmwareError {
    pub(crate) fn at(offset: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { offset, found: found.into(), expected: expected.into() }
    }
}

impl<'a> Firmware<'a> {
    /// Reads the tables of an image.
    pub fn parse(image: &'a [u8]) -> Result<Self, FirmwareError> {
        if image.is_empty() || !image.len().is_multiple_of(PAGE) || image.len() as u64 >= TOP {
            let found = format!("an image of {} bytes", image.len());
            return Err(FirmwareError::at(0, found, "whole pages of 4096 bytes, below 4 GiB together"));
        }
        let table = Table::parse(image)?;
        let sections = metadata::sections(image, &table)?;
        let reset_address = table.number(&RESET_BLOCK, 0)?.filter(|address| *address != 0);
        let kernel_hashes = kernel_hashes(&table, &sections)?;
        Ok(Self { image, sections, reset_address, kernel_hashes })
    }

    pub(crate) fn image(&self) -> &'a [u8] {
        self.image
    }

    /// The image ends where 4 GiB end.
    pub(crate) fn address(&self) -> u64 {
        address(self.image)
    }

    /// In the order of the metadata, which is the order of the measurement.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Where vCPUs after the first start.
    pub(crate) fn reset_address(&self) -> Option<u32> {
        self.reset_address
    }

    /// Where in the page of its section the table of kernel hashes stands; `None` if there is no such section or table.
    pub(crate) fn kernel_hashes(&self) -> Option<usize> {
        self.kernel_hashes
    }
}

fn address(image: &[u8]) -> u64 {
    TOP.saturating_sub(image.len() as u64)
}

/// The block states address and size of the table; older builds without a section for it state zeros.
fn kernel_hashes(table: &Table<'_>, sections: &[Section]) -> Result<Option<usize>, FirmwareError> {
    let section = sections.iter().find(|section| section.kind == SectionType::KernelHashes);
    let address = table.number(&KERNEL_HASHES_BLOCK, 0)?.filter(|address| *address != 0);
    let (Some(section), Some(address)) = (section, address) else { return Ok(None) };
    let size = table.number(&KERNEL_HASHES_BLOCK, 4)?.unwrap_or(0);
    let within = address.checked_sub(section.address).and_then(|offset| usize::try_from(offset).ok());
    let fits = |offset: &usize| offset + PADDED_TABLE_SIZE <= PAGE && size as usize >= PADDED_TABLE_SIZE;
    within.filter(fits).map(Some).ok_or_else(|| {
        FirmwareError::at(
            table.offset(&KERNEL_HASHES_BLOCK),
            format!("a kernel hashes table of {size} bytes at {address:#x}"),
            format!("{PADDED_TABLE_SIZE} bytes or more, inside the page at {:#x}", section.address),
        )
    })
}

/// End of the image in guest memory.
const TOP: u64 = 1 << 32;

/// SEV-ES reset block: start address of further vCPUs.
const RESET_BLOCK: [u8; 16] = guid(0x00f7_71de_1a7e_4fcb_890e_68c7_7e2f_b44e);
/// Address and size of the table of kernel hashes.
const KERNEL_HASHES_BLOCK: [u8; 16] = guid(0x7255_371f_3a3b_4b04_927b_1da6_efa8_d454);
/// Distance of the SEV metadata from the end of the image.
const METADATA_BLOCK: [u8; 16] = guid(0xdc88_6566_984a_4798_a75e_5585_a7bf_67cc);
