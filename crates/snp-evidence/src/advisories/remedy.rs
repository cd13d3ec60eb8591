//! What helps against a weakness, in the terms of a policy.

use std::fmt;

use crate::{
    policy::{Bits, Chips, FEATURES, PLATFORM, PerProduct, Policy, Rule, Version},
    product::Product,
};

/// What a rule has to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Chips that somebody answers for, in the place of any.
    ListedChips,
    /// At least this `snp` level.
    SnpLevel(u8),
    /// At least this version and build.
    Firmware([u8; 3]),
    /// These bits of `PLATFORM_INFO`.
    PlatformBits(&'static [&'static str]),
    /// These bits of the guest policy.
    PolicyBits(&'static [&'static str]),
    /// SMT forbidden.
    NoSmt,
    /// No migration agent, neither allowed nor attached.
    NoMigrationAgent,
}

impl Remedy {
    /// A product that a rule does not name is refused by it, and so is in no danger.
    pub(super) fn asked_by(self, policy: &Policy, product: Product) -> bool {
        match self {
            Self::ListedChips => matches!(policy.chips(product), Some(Chips::Listed(_))),
            Self::SnpLevel(level) => asks(&policy.tcb.reported, product, |floor| floor.0.snp >= level),
            Self::Firmware(version) => {
                asks(&policy.firmware_version, product, |floor| floor.0 >= Version(version))
            }
            Self::PlatformBits(bits) => {
                asks(&policy.platform_info, product, |wanted| has(wanted, bits, PLATFORM))
            }
            Self::PolicyBits(bits) => {
                asks(&policy.guest_policy.features, product, |wanted| has(wanted, bits, FEATURES))
            }
            Self::NoSmt => policy.guest_policy.smt.demand().is_some(),
            Self::NoMigrationAgent => {
                policy.guest_policy.migration_agent.demand().is_some()
                    || policy.report_id_ma.demand().is_some()
            }
        }
    }
}

fn asks<T: fmt::Display>(
    rule: &Rule<PerProduct<T>>,
    product: Product,
    enough: impl FnOnce(&T) -> bool,
) -> bool {
    rule.demand().is_some_and(|demand| demand.0.get(&product).is_none_or(enough))
}

fn has(wanted: &Bits, bits: &[&str], names: &[(&str, u32)]) -> bool {
    let is_set = |name: &&str| names.iter().any(|(own, bit)| own == name && wanted.set & (1 << bit) != 0);
    bits.iter().all(is_set)
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListedChips => f.write_str("allow = \"chips\", of chips whose place you know"),
            Self::SnpLevel(level) => write!(f, "snp = {level} or more"),
            Self::Firmware([major, minor, build]) => write!(f, "{major}.{minor}.{build} or more"),
            Self::PlatformBits(bits) | Self::PolicyBits(bits) => write!(f, "set = {bits:?}"),
            Self::NoSmt | Self::NoMigrationAgent => f.write_str("\"forbid\""),
        }
    }
}
