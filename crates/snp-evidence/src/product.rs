//! Processor lines whose evidence we can judge.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// An EPYC product line with SEV-SNP and its own AMD root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// EPYC 7003 (family 19h, models 00h–0Fh).
    Milan,
    /// EPYC 9004 and 8004, with Bergamo and Siena (family 19h, models 10h–1Fh and A0h–AFh).
    Genoa,
    /// EPYC 9005 (family 1Ah, models 00h–11h).
    Turin,
}

impl Product {
    pub(crate) const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The line of a CPUID family and model as reports of version 3 and later state them (each with its
    /// extended part folded in); `None` for a processor we do not know.
    pub(crate) fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0F) => Some(Self::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Self::Genoa),
            (0x1A, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The name of a line that AMD documents, but whose root key this version does not know.
    pub(crate) fn unsupported_line(family: u8, model: u8) -> Option<&'static str> {
        match (family, model) {
            (0x1A, 0x50..=0x57 | 0x90..=0xAF | 0xC0..=0xC7) => Some("venice"),
            _ => None,
        }
    }

    /// The name inside AMD's certificate subjects, and in the paths of its key server (57230, 4).
    pub fn amd_name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milan => "milan",
            Self::Genoa => "genoa",
            Self::Turin => "turin",
        })
    }
}

impl FromStr for Product {
    type Err = UnknownProduct;

    fn from_str(name: &str) -> Result<Self, UnknownProduct> {
        Self::ALL.into_iter().find(|product| product.to_string() == name).ok_or(UnknownProduct)
    }
}

/// A product name other than `milan`, `genoa`, `turin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown product, need milan, genoa or turin")]
pub struct UnknownProduct;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_amd_ends_it() {
        let line = Product::from_cpuid;
        for (product, family, models) in [
            (Product::Milan, 0x19, [0x00, 0x0F]),
            (Product::Genoa, 0x19, [0x10, 0x1F]),
            (Product::Genoa, 0x19, [0xA0, 0xAF]),
            (Product::Turin, 0x1A, [0x00, 0x11]),
        ] {
            assert_eq!(models.map(|model| line(family, model)), [Some(product); 2]);
        }
        for (family, model) in [(0x19, 0x20), (0x19, 0x9F), (0x19, 0xB0), (0x1A, 0x12), (0x18, 0), (0x1B, 0)]
        {
            assert_eq!(line(family, model), None, "{family:#x}/{model:#x}");
        }
    }
}
