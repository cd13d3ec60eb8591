//! What AMD's key server writes into a VCEK or VLEK certificate (AMD 57230, 3, certificate extensions).

use crate::{
    certificate::{AmdExtension, Certificate},
    product::Product,
    tcb::Tcb,
};

// Object ids below AMD's arc.

const STRUCT_VERSION: &[u8] = &[1];
const PRODUCT_NAME: &[u8] = &[2];
const BOOTLOADER: &[u8] = &[3, 1];
const TEE: &[u8] = &[3, 2];
const SNP: &[u8] = &[3, 3];
const MICROCODE: &[u8] = &[3, 8];
const FMC: &[u8] = &[3, 9];
/// Levels that no product uses so far; on Milan and Genoa 3.4 to 3.7, on Turin 3.5 to 3.7.
const RESERVED: [&[u8]; 4] = [&[3, 4], &[3, 5], &[3, 6], &[3, 7]];
const LEVELS: [&[u8]; 5] = [BOOTLOADER, TEE, SNP, MICROCODE, FMC];
const HWID: &[u8] = &[4];
const CSP_ID: &[u8] = &[5];

/// The certified facts about the key's chip or provider, and its TCB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VekFacts {
    /// With stepping in VCEKs ("Milan-B0"), without in VLEKs.
    pub(crate) product_name: String,
    pub(crate) tcb: Tcb,
    /// Raw bytes, 64, or 8 on Turin; never DER inside.
    pub(crate) hwid: Option<Vec<u8>>,
    pub(crate) csp_id: Option<String>,
}

/// Why a VEK's extensions were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VekError {
    #[error("AMD extension {0} is missing")]
    Missing(&'static str),
    #[error("AMD extension {0} is not DER of its type")]
    Encoding(&'static str),
    #[error("certificate structure version {0} is unknown")]
    StructVersion(u8),
    #[error("a level of an unknown firmware part, or a reserved level that is not zero")]
    Level,
}

impl VekFacts {
    pub(crate) fn of(certificate: &Certificate) -> Result<Self, VekError> {
        let amd = Amd(certificate.amd_extensions());
        amd.check_structure()?;
        let tcb = Tcb {
            fmc: amd.value(FMC).map(|value| integer(value, "fmc")).transpose()?,
            bootloader: amd.integer(BOOTLOADER, "bootloader")?,
            tee: amd.integer(TEE, "tee")?,
            snp: amd.integer(SNP, "snp")?,
            microcode: amd.integer(MICROCODE, "microcode")?,
        };
        let product_name = amd.value(PRODUCT_NAME).ok_or(VekError::Missing("product name"))?;
        Ok(Self {
            product_name: ia5(product_name, "product name")?.to_owned(),
            tcb,
            hwid: amd.value(HWID).map(<[u8]>::to_vec),
            csp_id: amd.value(CSP_ID).map(|value| ia5(value, "csp id").map(str::to_owned)).transpose()?,
        })
    }

    /// Whether it is of `product`: VLEKs name it, VCEKs with the chip's stepping ("Milan", "Milan-B0").
    pub(crate) fn is_of_line(&self, product: Product) -> bool {
        let stepping = self.product_name.strip_prefix(product.amd_name());
        stepping.is_some_and(|stepping| stepping.is_empty() || stepping.starts_with('-'))
    }
}

struct Amd<'a>(&'a [AmdExtension]);

impl<'a> Amd<'a> {
    fn value(&self, id: &[u8]) -> Option<&'a [u8]> {
        self.0.iter().find(|found| found.id == id).map(|found| found.value.as_slice())
    }

    fn integer(&self, id: &[u8], name: &'static str) -> Result<u8, VekError> {
        integer(self.value(id).ok_or(VekError::Missing(name))?, name)
    }

    /// Levels that we do not know could be below any floor, so that a certificate with one says too little.
    fn check_structure(&self) -> Result<(), VekError> {
        match self.integer(STRUCT_VERSION, "struct version")? {
            0 | 1 => {}
            version => return Err(VekError::StructVersion(version)),
        }
        let sound = |AmdExtension { id, value }: &AmdExtension| {
            let id = id.as_slice();
            LEVELS.contains(&id) || (RESERVED.contains(&id) && integer(value, "reserved") == Ok(0))
        };
        let mut levels = self.0.iter().filter(|found| found.id.first() == Some(&3));
        if levels.all(sound) { Ok(()) } else { Err(VekError::Level) }
    }
}

/// DER INTEGER of 0 to 255 in its only spelling: 80h and above take a leading zero.
fn integer(der: &[u8], name: &'static str) -> Result<u8, VekError> {
    match *der {
        [0x02, 1, value @ 0..=0x7F] | [0x02, 2, 0, value @ 0x80..=0xFF] => Ok(value),
        _ => Err(VekError::Encoding(name)),
    }
}

/// DER `IA5String` with a short length.
fn ia5<'a>(der: &'a [u8], name: &'static str) -> Result<&'a str, VekError> {
    match der {
        [0x16, length @ 0..=0x7F, text @ ..] if text.len() == usize::from(*length) && text.is_ascii() => {
            str::from_utf8(text).map_err(|_| VekError::Encoding(name))
        }
        _ => Err(VekError::Encoding(name)),
    }
}
