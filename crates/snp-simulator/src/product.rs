//! What differs between the processor generations.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A processor generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and its dense variants.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// The name in AMD's certificates, such as `Genoa`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// How many bytes of `CHIP_ID` are the hardware id; the rest is zero.
    pub const fn hwid_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }

    /// The CPUID of an ordinary chip.
    pub const fn cpuid(self) -> Cpuid {
        match self {
            Self::Milan => Cpuid { family: 0x19, model: 0x01, stepping: 1 },
            Self::Genoa => Cpuid { family: 0x19, model: 0x11, stepping: 1 },
            Self::Turin => Cpuid { family: 0x1A, model: 0x02, stepping: 1 },
        }
    }

    /// Firmware levels as seen on real machines.
    pub const fn tcb(self) -> Tcb {
        match self {
            Self::Milan => Tcb { fmc: 0, bootloader: 4, tee: 0, snp: 27, microcode: 219 },
            Self::Genoa => Tcb { fmc: 0, bootloader: 10, tee: 0, snp: 27, microcode: 84 },
            Self::Turin => Tcb { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 81 },
        }
    }

    /// The product name extension of a VCEK, which may tell the stepping.
    pub(crate) const fn vcek_product_name(self) -> &'static str {
        match self {
            Self::Milan => "Milan-B0",
            Self::Genoa | Self::Turin => self.name(),
        }
    }

    /// Version of the extension set in endorsement key certificates.
    pub(crate) const fn certificate_struct_version(self) -> u64 {
        match self {
            Self::Milan | Self::Genoa => 0,
            Self::Turin => 1,
        }
    }

    /// Serial of the ARK; AMD numbers the others upwards from it.
    pub(crate) const fn ark_serial(self) -> u64 {
        match self {
            Self::Milan => 0x1_0000,
            Self::Genoa => 0x2_0000,
            Self::Turin => 0x3_0000,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_ascii_lowercase())
    }
}

impl FromStr for Product {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Milan, Self::Genoa, Self::Turin]
            .into_iter()
            .find(|product| product.to_string() == text)
            .ok_or_else(|| format!("product {text:?} is unknown, use milan, genoa or turin"))
    }
}

/// Family, model and stepping of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpuid {
    /// Combined extended and base family.
    pub family: u8,
    /// Combined extended and base model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// Security patch levels of the firmware parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// Firmware of the FMC; Turin only, not written for the others.
    pub fmc: u8,
    /// Boot loader.
    pub bootloader: u8,
    /// Secure processor operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Lowest microcode of all cores.
    pub microcode: u8,
}

impl Tcb {
    /// `TCB_VERSION` as this product lays it out.
    pub const fn to_bytes(self, product: Product) -> [u8; 8] {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        match product {
            Product::Milan | Product::Genoa => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
            Product::Turin => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
        }
    }
}
