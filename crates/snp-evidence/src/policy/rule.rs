//! The demands that a rule can make, each able to say itself in words.

use std::{collections::BTreeMap, fmt};

use crate::{
    check::{Finding, Judged},
    encoding::hex,
    product::Product,
};

use super::Version;

/// One policy check's setting.
#[derive(Clone, Debug)]
pub(crate) enum Rule<T> {
    On(T),
    /// With the reason that every verdict prints.
    Off(String),
    /// Stands in while a refused file is read to its end; accepts nothing.
    Unreadable,
}

impl<T: fmt::Display> Rule<T> {
    #[expect(clippy::unnecessary_wraps, reason = "most checks end in this call")]
    pub(crate) fn judge(&self, observed: impl fmt::Display, met: impl FnOnce(&T) -> bool) -> Judged {
        Ok(match self {
            Self::On(demand) => Finding::of(met(demand), observed, demand),
            Self::Off(reason) => Finding::not_required(observed, format!("off: {reason}")),
            Self::Unreadable => Finding::of(false, observed, "a readable policy"),
        })
    }

    pub(crate) fn demand(&self) -> Option<&T> {
        match self {
            Self::On(demand) => Some(demand),
            Self::Off(_) | Self::Unreadable => None,
        }
    }
}

/// A demand without parameters, `require` or `forbid`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed(pub(crate) &'static str);

/// Any of these; none if empty.
#[derive(Clone, Debug)]
pub(crate) struct Allow<T>(pub(crate) Vec<T>);

/// This or more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minimum<T>(pub(crate) T);

/// A demand per product; a product that is not named is refused.
#[derive(Clone, Debug)]
pub(crate) struct PerProduct<T>(pub(crate) BTreeMap<Product, T>);

/// Bytes written in hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes<const N: usize>(pub(crate) [u8; N]);

/// Bits that have to be one, bits that have to be zero, and all bits that have a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) names: &'static [(&'static str, u32)],
}

/// Mitigation bits that have to be set at launch and now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masks {
    pub(crate) launch: u64,
    pub(crate) current: u64,
}

/// How many days a revocation list may be past its next update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StaleBudget {
    pub(crate) days: u8,
}

/// Whose migration agent a guest may have.
#[derive(Clone, Debug)]
pub(crate) enum MigrationAgent {
    /// Nobody's: `REPORT_ID_MA` is all ones.
    Forbidden,
    /// The guests' with these report ids.
    Allowed(Allow<Bytes<32>>),
}

/// Launch measurements and what they cover.
#[derive(Clone, Debug)]
pub(crate) struct Measurements {
    pub(crate) allow: Allow<Bytes<48>>,
    pub(crate) covers: Covers,
}

/// How far a measurement reaches.
#[derive(Clone, Debug)]
pub(crate) enum Covers {
    /// Services too: they are inside the measured initrd or behind a measured root hash.
    Userspace,
    /// Kernel and initrd only, with the reason why that is enough here.
    KernelOnly(String),
}

/// Which processors of a product are accepted.
#[derive(Clone, Debug)]
pub(crate) enum Chips {
    /// Every genuine one, with the reason.
    Any(String),
    /// These chip ids.
    Listed(Vec<Vec<u8>>),
}

/// What tells this instance from a genuine twin on somebody else's machine.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Another rule of this policy: chips, `host_data` or `id_key`.
    Pinned,
    /// The CVM's own CA key, by SHA-256 of its DER SPKI.
    CaSpki(Allow<Bytes<32>>),
}

/// Guest policy bits beyond those with a rule of their own.
pub(crate) const FEATURES: &[(&str, u32)] = &[
    ("cxl", 21),
    ("memory_aes_256_xts", 22),
    ("rapl_disabled", 23),
    ("ciphertext_hiding", 24),
    ("page_swap_disabled", 25),
];

/// Bits of `PLATFORM_INFO`. Bits without a name here are refused wherever the rule is on.
pub(crate) const PLATFORM: &[(&str, u32)] = &[
    ("smt", 0),
    ("tsme", 1),
    ("ecc", 2),
    ("rapl_disabled", 3),
    ("ciphertext_hiding", 4),
    ("alias_check_complete", 5),
    ("iommu_write_safe", 6),
    ("tio", 7),
];

impl<T: PartialEq> Allow<T> {
    pub(crate) fn has(&self, value: &T) -> bool {
        self.0.contains(value)
    }
}

impl<T: PartialOrd> Minimum<T> {
    pub(crate) fn met_by(&self, value: &T) -> bool {
        *value >= self.0
    }
}

impl<T> PerProduct<T> {
    pub(crate) fn met_by(&self, product: Product, met: impl FnOnce(&T) -> bool) -> bool {
        self.0.get(&product).is_some_and(met)
    }
}

impl Masks {
    pub(crate) fn met_by(self, launch: u64, current: u64) -> bool {
        launch & self.launch == self.launch && current & self.current == self.current
    }
}

impl StaleBudget {
    pub(crate) fn seconds(self) -> i64 {
        i64::from(self.days) * 86_400
    }
}

impl MigrationAgent {
    pub(crate) fn met_by(&self, id: &Bytes<32>) -> bool {
        match self {
            Self::Forbidden => id.0 == [0xFF; 32],
            Self::Allowed(ids) => ids.has(id),
        }
    }
}

impl Bits {
    pub(crate) fn met_by(&self, value: u64) -> bool {
        value & self.set == self.set && value & self.clear == 0
    }

    pub(crate) fn named(&self) -> u64 {
        self.names.iter().fold(0, |mask, (_, bit)| mask | 1 << bit)
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<T: fmt::Display> fmt::Display for Allow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("nothing, the list is empty"),
            [only] => only.fmt(f),
            [first, rest @ ..] => {
                write!(f, "one of {first}")?;
                rest.iter().try_for_each(|item| write!(f, ", {item}"))
            }
        }
    }
}

impl<T: fmt::Display> fmt::Display for Minimum<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at least {}", self.0)
    }
}

impl<T: fmt::Display> fmt::Display for PerProduct<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let demands: Vec<_> = self.0.iter().map(|(product, demand)| (product, demand.to_string())).collect();
        match demands.as_slice() {
            [] => f.write_str("nothing, no product is named"),
            [(_, first), rest @ ..]
                if demands.len() == Product::ALL.len() && rest.iter().all(|(_, demand)| demand == first) =>
            {
                f.write_str(first)
            }
            [(product, first), rest @ ..] => {
                write!(f, "{product}: {first}")?;
                rest.iter().try_for_each(|(product, demand)| write!(f, "; {product}: {demand}"))
            }
        }
    }
}

impl fmt::Display for StaleBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.days {
            0 => f.write_str("a list that is current"),
            days => write!(f, "a list at most {days} days past its next update"),
        }
    }
}

impl fmt::Display for MigrationAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden => f.write_str("none, all ones"),
            Self::Allowed(ids) => ids.fmt(f),
        }
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("set:")?;
        names(self.names, self.set, f)?;
        f.write_str("; clear:")?;
        names(self.names, self.clear, f)
    }
}

fn names(names: &[(&str, u32)], mask: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    names.iter().filter(|(_, bit)| mask & (1 << bit) != 0).try_for_each(|(name, _)| write!(f, " {name}"))
}

impl fmt::Display for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "launch {:#x}, current {:#x}", self.launch, self.current)
    }
}

impl fmt::Display for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.covers {
            Covers::Userspace => self.allow.fmt(f),
            Covers::KernelOnly(reason) => {
                write!(
                    f,
                    "{} (kernel only: the host can change the programs; accepted because: {reason})",
                    self.allow
                )
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("host_data, chip ids or id_key pinned by this policy"),
            Self::CaSpki(keys) => write!(f, "CA key {keys}"),
        }
    }
}

impl<const N: usize> fmt::Display for Version<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|part| part.to_string()).join("."))
    }
}
