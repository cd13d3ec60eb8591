//! Which processor QEMU shows to the guest.

/// A kind of vCPU, by its CPUID signature: EAX of CPUID function 1, and EDX of each vCPU at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vcpu {
    signature: u32,
}

/// A name of QEMU's `-cpu`, family, model, stepping, and the highest version behind `-v`.
type Model = (&'static str, u32, u32, u32, u32);

const MODELS: &[Model] = &[
    ("EPYC", 23, 1, 2, 5),
    ("EPYC-IBPB", 23, 1, 2, 0),
    ("EPYC-Rome", 23, 49, 0, 5),
    ("EPYC-Milan", 25, 1, 1, 3),
    ("EPYC-Genoa", 25, 17, 0, 2),
    ("EPYC-Turin", 26, 0, 0, 2),
];

impl Vcpu {
    /// The vCPU of a QEMU model such as `EPYC-v4` or `EPYC-Genoa`, in any case of letters.
    pub fn named(name: &str) -> Option<Self> {
        let (_, vcpu) = all().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(vcpu)
    }

    /// The vCPU with this CPUID signature, for models without a name here.
    pub fn with_signature(signature: u32) -> Self {
        Self { signature }
    }

    /// Every name that [`Self::named`] takes.
    pub fn names() -> impl Iterator<Item = String> {
        all().map(|(name, _)| name)
    }

    /// CPUID signature.
    pub fn signature(self) -> u32 {
        self.signature
    }
}

fn all() -> impl Iterator<Item = (String, Vcpu)> {
    MODELS.iter().flat_map(|&(base, family, model, stepping, versions)| {
        let vcpu = Vcpu { signature: signature(family, model, stepping) };
        (0..=versions).map(move |version| match version {
            0 => (base.to_owned(), vcpu),
            version => (format!("{base}-v{version}"), vcpu),
        })
    })
}

/// AMD 25481, function `0000_0001`: families from 16 on stand as 15 and the excess, models in two halves.
fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (base, extended) = (family.min(15), family.saturating_sub(15));
    extended << 20 | (model >> 4) << 16 | base << 8 | (model & 15) << 4 | stepping
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_processors() {
        for (name, signature) in [
            ("EPYC", 0x0080_0F12),
            ("epyc-v4", 0x0080_0F12),
            ("EPYC-IBPB", 0x0080_0F12),
            ("EPYC-Rome", 0x0083_0F10),
            ("EPYC-Milan-v2", 0x00A0_0F11),
            ("EPYC-Genoa", 0x00A1_0F10),
            ("EPYC-Turin", 0x00B0_0F00),
        ] {
            assert_eq!(Vcpu::named(name).map(Vcpu::signature), Some(signature), "{name}");
        }
        for unknown in ["", "EPYC-v9", "EPYC-IBPB-v1", "host", "max", "EPYC-v0"] {
            assert_eq!(Vcpu::named(unknown), None, "{unknown}");
        }
    }
}
