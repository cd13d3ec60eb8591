//! Takes fields off the front of untrusted bytes.

/// The bytes ended before the named field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it ends before its {0}")]
pub(crate) struct Short(pub(crate) &'static str);

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Short> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Short(what))?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Short> {
        let (field, rest) = self.0.split_at_checked(length).ok_or(Short(what))?;
        self.0 = rest;
        Ok(field)
    }

    /// Little-endian, as the paravisor writes.
    pub(crate) fn le32(&mut self, what: &'static str) -> Result<u32, Short> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Big-endian, as a TPM writes.
    pub(crate) fn be16(&mut self, what: &'static str) -> Result<u16, Short> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Big-endian, as a TPM writes.
    pub(crate) fn be32(&mut self, what: &'static str) -> Result<u32, Short> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// A `TPM2B_*`: its length in 2 bytes, then so many bytes.
    pub(crate) fn sized(&mut self, what: &'static str) -> Result<&'a [u8], Short> {
        let length = self.be16(what)?;
        self.bytes(length.into(), what)
    }
}
