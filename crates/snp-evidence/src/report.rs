//! The attestation report: 1184 bytes, versions 2 to 5 (AMD 56860, SNP firmware ABI, 7.3, `ATTESTATION_REPORT`).
//! Versions 3 and 4 share a layout; version 2 has no CPUID, version 5 adds the mitigation vectors.
//!
//! Integers are little-endian. Whatever the version reserves has to be zero, so that nothing can hide in a
//! report and later versions are not read as earlier ones.

use std::fmt;

use crate::{product::Product, tcb::RawTcb};

pub(crate) const REPORT_SIZE: usize = 0x4A0;
/// The signature covers the bytes before this offset.
pub(crate) const SIGNED_SIZE: usize = 0x2A0;
/// VMPL of a report that the host asked for (`SNP_HV_REPORT_REQ`); its `report_data` is zero.
pub(crate) const HOST_REQUESTED: u32 = u32::MAX;
/// R and S stand in slots of 72 bytes, of which P-384 uses 48.
const SIGNATURE_SLOT_PADDING: usize = 24;

/// Every field of a report whose structure is sound. The claims are AMD's only once
/// `report.signature` has passed.
#[expect(clippy::struct_field_names, reason = "AMD's field names")]
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) version: u32,
    pub(crate) guest_svn: u32,
    pub(crate) policy: GuestPolicy,
    pub(crate) family_id: [u8; 16],
    pub(crate) image_id: [u8; 16],
    pub(crate) vmpl: u32,
    pub(crate) signature_algo: u32,
    pub(crate) current_tcb: RawTcb,
    pub(crate) platform_info: u64,
    pub(crate) key_info: KeyInfo,
    pub(crate) report_data: [u8; 64],
    pub(crate) measurement: [u8; 48],
    pub(crate) host_data: [u8; 32],
    pub(crate) id_key_digest: [u8; 48],
    pub(crate) author_key_digest: [u8; 48],
    pub(crate) report_id: [u8; 32],
    /// The migration agent's; all ones without one.
    pub(crate) report_id_ma: [u8; 32],
    pub(crate) reported_tcb: RawTcb,
    /// Family and model; reports of version 2 have none.
    pub(crate) cpuid: Option<(u8, u8)>,
    pub(crate) chip_id: [u8; 64],
    pub(crate) committed_tcb: RawTcb,
    pub(crate) current_firmware: Firmware,
    pub(crate) committed_firmware: Firmware,
    pub(crate) launch_tcb: RawTcb,
    /// Version 5 only.
    pub(crate) mitigations: Option<Mitigations>,
    /// R ‖ S, 48 bytes each, big-endian.
    pub(crate) signature: [u8; 96],
}

/// Guest policy, fixed at launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestPolicy(pub(crate) u64);

/// Which key signed, and what the host masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyInfo(pub(crate) u32);

/// Key that signed a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SigningKey {
    Vcek,
    Vlek,
    None,
    Unknown,
}

/// Firmware version, ordered as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Firmware {
    pub(crate) major: u8,
    pub(crate) minor: u8,
    pub(crate) build: u8,
}

/// Mitigation bits, meaning per product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mitigations {
    pub(crate) launch: u64,
    pub(crate) current: u64,
}

/// Why bytes are no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StructureError {
    #[error("{0} bytes")]
    Length(usize),
    #[error("report version {0}")]
    Version(u32),
    #[error("reserved bytes at {0:#05x} are not zero")]
    Reserved(usize),
    #[error("reserved bits of {field}, {value:#x}")]
    Bits { field: &'static str, value: u64 },
}

impl Report {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StructureError> {
        if bytes.len() != REPORT_SIZE {
            return Err(StructureError::Length(bytes.len()));
        }
        let mut r = Reader { bytes, at: 0 };
        let version = r.u32()?;
        if !(2..=5).contains(&version) {
            return Err(StructureError::Version(version));
        }
        // The order of these fields is the layout.
        Ok(Self {
            version,
            guest_svn: r.u32()?,
            policy: GuestPolicy::checked(r.u64()?)?,
            family_id: r.take()?,
            image_id: r.take()?,
            vmpl: r.vmpl()?,
            signature_algo: r.u32()?,
            current_tcb: RawTcb(r.take()?),
            platform_info: r.u64()?,
            key_info: r.key_info()?,
            report_data: r.take()?,
            measurement: r.take()?,
            host_data: r.take()?,
            id_key_digest: r.take()?,
            author_key_digest: r.take()?,
            report_id: r.take()?,
            report_id_ma: r.take()?,
            reported_tcb: RawTcb(r.take()?),
            cpuid: r.cpuid(version)?,
            chip_id: r.take()?,
            committed_tcb: RawTcb(r.take()?),
            current_firmware: r.firmware()?,
            committed_firmware: r.firmware()?,
            launch_tcb: RawTcb(r.take()?),
            mitigations: r.mitigations(version)?,
            signature: r.signature()?,
        })
    }

    /// The chip's own part of the field: Turin uses 8 of the 64 bytes.
    pub(crate) fn chip_id_of(&self, product: Product) -> &[u8] {
        match product {
            Product::Milan | Product::Genoa => &self.chip_id,
            Product::Turin => self.chip_id.first_chunk::<8>().map_or(&[], |id| id),
        }
    }

    pub(crate) fn tcbs(&self) -> [RawTcb; 4] {
        [self.current_tcb, self.reported_tcb, self.committed_tcb, self.launch_tcb]
    }
}

impl GuestPolicy {
    /// Bit 17 reads one, bits 26 to 63 zero.
    fn checked(value: u64) -> Result<Self, StructureError> {
        let sound = value & (1 << 17) != 0 && value >> 26 == 0;
        if sound { Ok(Self(value)) } else { Err(StructureError::Bits { field: "guest policy", value }) }
    }

    /// Minimum firmware ABI (major, minor) the guest asked for.
    pub(crate) fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    pub(crate) fn smt(self) -> bool {
        self.bit(16)
    }

    pub(crate) fn migration_agent(self) -> bool {
        self.bit(18)
    }

    pub(crate) fn debug(self) -> bool {
        self.bit(19)
    }

    pub(crate) fn single_socket(self) -> bool {
        self.bit(20)
    }

    fn bit(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }
}

impl KeyInfo {
    pub(crate) fn author_key(self) -> bool {
        self.0 & 1 != 0
    }

    pub(crate) fn mask_chip_key(self) -> bool {
        self.0 & 2 != 0
    }

    pub(crate) fn signing_key(self) -> SigningKey {
        match (self.0 >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            _ => SigningKey::Unknown,
        }
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::None => "no key",
            Self::Unknown => "an unknown key",
        })
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Takes fields in the order of the layout.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StructureError> {
        let (field, rest) = self.bytes.split_first_chunk().ok_or(StructureError::Length(self.at))?;
        self.bytes = rest;
        self.at += N;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, StructureError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, StructureError> {
        self.take().map(u64::from_le_bytes)
    }

    fn zeros<const N: usize>(&mut self) -> Result<(), StructureError> {
        let at = self.at;
        if self.take()? == [0; N] { Ok(()) } else { Err(StructureError::Reserved(at)) }
    }

    /// Bits 5 to 31 and the word after are reserved.
    fn key_info(&mut self) -> Result<KeyInfo, StructureError> {
        let value = self.u32()?;
        if value >> 5 != 0 {
            return Err(StructureError::Bits { field: "key info", value: value.into() });
        }
        self.zeros::<4>()?;
        Ok(KeyInfo(value))
    }

    /// The four levels, or [`HOST_REQUESTED`].
    fn vmpl(&mut self) -> Result<u32, StructureError> {
        match self.u32()? {
            vmpl @ (0..=3 | HOST_REQUESTED) => Ok(vmpl),
            value => Err(StructureError::Bits { field: "VMPL", value: value.into() }),
        }
    }

    fn cpuid(&mut self, version: u32) -> Result<Option<(u8, u8)>, StructureError> {
        if version < 3 {
            return self.zeros::<24>().map(|()| None);
        }
        let [family, model, _stepping] = self.take()?;
        self.zeros::<21>()?;
        Ok(Some((family, model)))
    }

    fn firmware(&mut self) -> Result<Firmware, StructureError> {
        let [build, minor, major] = self.take()?;
        self.zeros::<1>()?;
        Ok(Firmware { major, minor, build })
    }

    fn mitigations(&mut self, version: u32) -> Result<Option<Mitigations>, StructureError> {
        if version < 5 {
            return self.zeros::<168>().map(|()| None);
        }
        let mitigations = Mitigations { launch: self.u64()?, current: self.u64()? };
        self.zeros::<152>()?;
        Ok(Some(mitigations))
    }

    fn signature(&mut self) -> Result<[u8; 96], StructureError> {
        let mut signature = [0; 96];
        let (r, s) = signature.split_at_mut(48);
        for half in [r, s] {
            let mut number: [u8; 48] = self.take()?;
            self.zeros::<SIGNATURE_SLOT_PADDING>()?;
            number.reverse();
            half.copy_from_slice(&number);
        }
        self.zeros::<{ REPORT_SIZE - SIGNED_SIZE - 144 }>()?;
        Ok(signature)
    }
}
