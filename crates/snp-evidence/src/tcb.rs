//! TCB versions. The same eight bytes mean different components on different products, so that a value
//! is only ever read together with its product.

use std::fmt;

use crate::product::Product;

/// Eight bytes as they stand in a report, meaning nothing without a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawTcb(pub(crate) [u8; 8]);

/// Security patch levels of one product's firmware components (AMD 56860, 2.2, `TCB_VERSION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tcb {
    /// Firmware microcode controller; only Turin has one.
    pub fmc: Option<u8>,
    /// Boot loader of the secure processor.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SEV-SNP firmware.
    pub snp: u8,
    /// Microcode of all cores.
    pub microcode: u8,
}

impl RawTcb {
    pub(crate) fn of(self, product: Product) -> Tcb {
        match product {
            Product::Milan | Product::Genoa => {
                let [bootloader, tee, _, _, _, _, snp, microcode] = self.0;
                Tcb { fmc: None, bootloader, tee, snp, microcode }
            }
            Product::Turin => {
                let [fmc, bootloader, tee, snp, _, _, _, microcode] = self.0;
                Tcb { fmc: Some(fmc), bootloader, tee, snp, microcode }
            }
        }
    }

    /// Whether the bytes that this product reserves are zero.
    pub(crate) fn reserved_is_zero(self, product: Product) -> bool {
        match product {
            Product::Milan | Product::Genoa => matches!(self.0, [_, _, 0, 0, 0, 0, _, _]),
            Product::Turin => matches!(self.0, [_, _, _, _, 0, 0, 0, _]),
        }
    }
}

impl Tcb {
    /// Whether every component is at least that of `floor`; never across products.
    pub(crate) fn covers(self, floor: Self) -> bool {
        let fmc = match (self.fmc, floor.fmc) {
            (Some(own), Some(floor)) => own >= floor,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        fmc && self.bootloader >= floor.bootloader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc} ")?;
        }
        let Self { bootloader, tee, snp, microcode, .. } = self;
        write!(f, "bootloader {bootloader} tee {tee} snp {snp} microcode {microcode}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_of_each_component() {
        let layouts: [(Product, &[usize]); 3] = [
            (Product::Milan, &[0, 1, 6, 7]),
            (Product::Genoa, &[0, 1, 6, 7]),
            (Product::Turin, &[0, 1, 2, 3, 7]),
        ];
        for (product, components) in layouts {
            let level = |at: usize, level| {
                let mut bytes = [5; 8];
                bytes[at] = level;
                RawTcb(bytes).of(product)
            };
            for at in components {
                let floor = level(*at, 5);
                assert!(floor.covers(floor) && level(*at, 6).covers(floor), "byte {at} of {product}");
                assert!(!level(*at, 4).covers(floor), "byte {at} of {product}");
            }
        }
    }

    #[test]
    fn no_product_covers_anothers_floor() {
        let (milan, turin) = (RawTcb([5; 8]).of(Product::Milan), RawTcb([5; 8]).of(Product::Turin));
        assert!(!milan.covers(turin) && !turin.covers(milan));
    }
}
