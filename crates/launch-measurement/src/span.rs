//! Little-endian fields of an untrusted image, by offset.

use crate::FirmwareError;

/// A range of the image that knows where it stands in it, so that errors can say so.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: usize,
}

impl<'a> Span<'a> {
    /// `length` bytes from `offset` of the image on.
    pub(crate) fn of(
        image: &'a [u8],
        offset: usize,
        length: usize,
        what: &'static str,
    ) -> Result<Self, FirmwareError> {
        let end = offset.checked_add(length);
        let bytes = end.and_then(|end| image.get(offset..end));
        let found = || format!("the end of the image, {:#x} bytes", image.len());
        bytes.map(|bytes| Self { bytes, offset }).ok_or_else(|| FirmwareError::at(offset, found(), what))
    }

    /// The span's first `length` bytes, and the others.
    pub(crate) fn split(self, length: usize) -> Option<(Self, Self)> {
        let (head, tail) = self.bytes.split_at_checked(length)?;
        Some((Self { bytes: head, ..self }, Self { bytes: tail, offset: self.offset + length }))
    }

    /// As [`Self::split`], counted from the end.
    pub(crate) fn split_end(self, length: usize) -> Option<(Self, Self)> {
        self.split(self.bytes.len().checked_sub(length)?)
    }

    /// The first `N` bytes as an array; what comes after is left.
    pub(crate) fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FirmwareError> {
        let (field, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or_else(|| FirmwareError::at(self.offset, format!("{} bytes", self.bytes.len()), what))?;
        self.bytes = rest;
        self.offset += N;
        Ok(*field)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, FirmwareError> {
        self.take(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FirmwareError> {
        self.take(what).map(u32::from_le_bytes)
    }
}
