//! The SEV metadata: memory that is part of the launch beside the image.

use std::fmt;

use super::{FirmwareError, METADATA_BLOCK, Span, Table, address};
use crate::PAGE;

/// Pages that the hypervisor adds to the launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) address: u32,
    /// Whole pages, one at least.
    pub(crate) size: usize,
    pub(crate) kind: SectionType,
}

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectionType {
    Memory,
    Secrets,
    Cpuid,
    SvsmCallingArea,
    KernelHashes,
}

/// Every section, in the order of the metadata.
pub(super) fn sections(image: &[u8], table: &Table<'_>) -> Result<Vec<Section>, FirmwareError> {
    let distance = table.number(&METADATA_BLOCK, 0)?.ok_or_else(|| {
        FirmwareError::at(image.len(), "no SEV metadata block in the table", "an OVMF build with SEV-SNP")
    })?;
    let block = table.offset(&METADATA_BLOCK);
    let start = usize::try_from(distance).ok().and_then(|distance| image.len().checked_sub(distance));
    let start = start.ok_or_else(|| {
        FirmwareError::at(block, format!("metadata {distance} bytes before the end"), "a place in the image")
    })?;
    let mut items = items(image, start)?;
    let mut sections = Vec::new();
    while !items.bytes.is_empty() {
        sections.push(Section::read(&mut items)?);
    }
    check_together(&sections, image, start)?;
    Ok(sections)
}

/// Signature, size, version, number of items; then the items, whose span is returned.
fn items(image: &[u8], start: usize) -> Result<Span<'_>, FirmwareError> {
    let mut header = Span::of(image, start, HEADER, "a SEV metadata header")?;
    let signature = header.take("the signature ASEV")?;
    if &signature != b"ASEV" {
        return Err(FirmwareError::at(start, format!("{signature:02x?}"), "the signature ASEV"));
    }
    let size = header.u32("the metadata's size")?;
    let version = header.u32("the metadata's version")?;
    if version != 1 {
        return Err(FirmwareError::at(start + 8, format!("metadata version {version}"), "version 1"));
    }
    let count = header.u32("the number of sections")?;
    let length = u64::from(count) * ITEM as u64;
    if u64::from(size) != length + HEADER as u64 {
        let found = format!("{size} bytes for {count} sections");
        return Err(FirmwareError::at(start + 4, found, format!("{HEADER} and {ITEM} for each")));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Span::of(image, start + HEADER, length, "the sections of the SEV metadata")
}

impl Section {
    fn read(items: &mut Span<'_>) -> Result<Self, FirmwareError> {
        let at = items.offset;
        let (address, size) = (items.u32("a section's address")?, items.u32("a section's size")?);
        let number = items.u32("a section's type")?;
        let kind = SectionType::of(number).ok_or_else(|| {
            FirmwareError::at(at + 8, format!("section type {number:#x}"), "type 1, 2, 3, 4 or 0x10")
        })?;
        let section = Self { address, size: size as usize, kind };
        let found = || format!("{size:#x} bytes at {address:#x} for {kind}");
        if size == 0 || !section.size.is_multiple_of(PAGE) || !(address as usize).is_multiple_of(PAGE) {
            return Err(FirmwareError::at(at, found(), "whole pages, one at least"));
        }
        if kind.is_one_page() && section.size != PAGE {
            return Err(FirmwareError::at(at, found(), "one page"));
        }
        Ok(section)
    }

    fn start(&self) -> u64 {
        self.address.into()
    }

    fn end(&self) -> u64 {
        self.start() + self.size as u64
    }
}

impl SectionType {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Memory,
            2 => Self::Secrets,
            3 => Self::Cpuid,
            4 => Self::SvsmCallingArea,
            0x10 => Self::KernelHashes,
            _ => return None,
        })
    }

    fn is_one_page(self) -> bool {
        matches!(self, Self::Secrets | Self::Cpuid | Self::KernelHashes)
    }
}

/// As OVMF's sources name them.
impl fmt::Display for SectionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "SNP_SEC_MEM",
            Self::Secrets => "SNP_SECRETS",
            Self::Cpuid => "CPUID",
            Self::SvsmCallingArea => "SVSM_CAA",
            Self::KernelHashes => "SNP_KERNEL_HASHES",
        })
    }
}

/// The secure processor takes no page twice, and each page with a purpose of its own exists once. This also bounds
/// the work: no more pages than 4 GiB hold.
fn check_together(sections: &[Section], image: &[u8], start: usize) -> Result<(), FirmwareError> {
    let mut sorted: Vec<_> = sections.iter().collect();
    sorted.sort_unstable_by_key(|section| section.address);
    for (index, section) in sorted.iter().enumerate() {
        let next = sorted.get(index + 1).map_or(address(image), |next| next.start());
        if section.end() > next {
            let found = format!("a section from {:#x} to {:#x}", section.start(), section.end());
            return Err(FirmwareError::at(
                start,
                found,
                format!("one that ends by {next:#x}, where another or the image begins"),
            ));
        }
    }
    for kind in [SectionType::Secrets, SectionType::Cpuid, SectionType::KernelHashes] {
        if sections.iter().filter(|section| section.kind == kind).count() > 1 {
            return Err(FirmwareError::at(start, format!("several {kind} sections"), "one at most"));
        }
    }
    Ok(())
}

/// `ASEV`, size, version, number of sections.
const HEADER: usize = 16;
/// Address, size, type.
const ITEM: usize = 12;
