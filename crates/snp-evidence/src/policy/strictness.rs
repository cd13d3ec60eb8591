//! Which of two demands is the stricter. Not all can be compared: then neither is.

use std::{
    cmp::Ordering::{self, Equal, Greater, Less},
    fmt,
};

use super::{
    Allow, Bits, Bytes, Chips, Fixed, Identity, Masks, Measurements, MigrationAgent, Minimum, PerProduct,
    Rule, StaleBudget, Version, rule::Covers,
};
use crate::{product::Product, tcb::Tcb};

/// A demand that can be held against another of its kind.
pub(crate) trait Demand: fmt::Display {
    /// Whether it names what is accepted, one by one.
    fn is_list(&self) -> bool {
        false
    }

    /// Why it asks for less than it could.
    fn reason(&self) -> Option<&str> {
        None
    }

    /// Greater is stricter: whatever meets this meets the other too.
    fn strictness(&self, other: &Self) -> Option<Ordering>;

    /// Whether nothing can meet it, as in a policy that still has to be filled in.
    fn accepts_nothing(&self) -> bool {
        false
    }
}

/// What a floor can be made of.
pub(crate) trait Level: fmt::Display {
    fn level(&self, other: &Self) -> Option<Ordering>;

    /// Whether it is the highest that can be written, which nothing real has.
    fn is_highest(&self) -> bool;
}

impl<T: Demand> Rule<T> {
    pub(super) fn strictness(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::On(own), Self::On(other)) => own.strictness(other),
            (Self::On(_), Self::Off(_)) => Some(Greater),
            (Self::Off(_), Self::On(_)) => Some(Less),
            (Self::Off(_), Self::Off(_)) => Some(Equal),
            (Self::Unreadable, _) | (_, Self::Unreadable) => None,
        }
    }
}

impl Demand for Fixed {
    fn strictness(&self, _: &Self) -> Option<Ordering> {
        Some(Equal)
    }
}

impl<T: PartialEq + fmt::Display> Demand for Allow<T> {
    fn is_list(&self) -> bool {
        true
    }

    fn strictness(&self, other: &Self) -> Option<Ordering> {
        within(&self.0, &other.0)
    }

    fn accepts_nothing(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Level> Demand for Minimum<T> {
    fn strictness(&self, other: &Self) -> Option<Ordering> {
        self.0.level(&other.0)
    }

    fn accepts_nothing(&self) -> bool {
        self.0.is_highest()
    }
}

impl<T: Demand> Demand for PerProduct<T> {
    /// A product that is not named is refused, and nothing is stricter than that.
    fn strictness(&self, other: &Self) -> Option<Ordering> {
        all(Product::ALL.map(|product| match (self.0.get(&product), other.0.get(&product)) {
            (Some(own), Some(other)) => own.strictness(other),
            (None, Some(_)) => Some(Greater),
            (Some(_), None) => Some(Less),
            (None, None) => Some(Equal),
        }))
    }

    fn accepts_nothing(&self) -> bool {
        self.0.values().all(T::accepts_nothing)
    }
}

impl Demand for Bits {
    fn strictness(&self, other: &Self) -> Option<Ordering> {
        all([covers(self.set, other.set), covers(self.clear, other.clear)])
    }
}

impl Demand for StaleBudget {
    fn strictness(&self, other: &Self) -> Option<Ordering> {
        Some(other.days.cmp(&self.days))
    }
}

impl Demand for MigrationAgent {
    fn is_list(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Nobody's agent is one id among others: all ones.
    fn strictness(&self, other: &Self) -> Option<Ordering> {
        within(&self.ids(), &other.ids())
    }

    fn accepts_nothing(&self) -> bool {
        self.ids().is_empty()
    }
}

impl MigrationAgent {
    fn ids(&self) -> Vec<Bytes<32>> {
        match self {
            Self::Forbidden => vec![Bytes([0xFF; 32])],
            Self::Allowed(ids) => ids.0.clone(),
        }
    }
}

impl Demand for Measurements {
    fn is_list(&self) -> bool {
        true
    }

    fn reason(&self) -> Option<&str> {
        match &self.covers {
            Covers::Userspace => None,
            Covers::KernelOnly(reason) => Some(reason),
        }
    }

    fn strictness(&self, other: &Self) -> Option<Ordering> {
        all([self.allow.strictness(&other.allow), Some(self.covers.strictness(&other.covers))])
    }

    fn accepts_nothing(&self) -> bool {
        self.allow.accepts_nothing()
    }
}

impl Covers {
    fn strictness(&self, other: &Self) -> Ordering {
        let reach = |covers: &Self| matches!(covers, Self::Userspace);
        reach(self).cmp(&reach(other))
    }
}

impl Demand for Identity {
    fn is_list(&self) -> bool {
        matches!(self, Self::CaSpki(_))
    }

    fn strictness(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Pinned, Self::Pinned) => Some(Equal),
            (Self::CaSpki(own), Self::CaSpki(other)) => own.strictness(other),
            (Self::Pinned, Self::CaSpki(_)) | (Self::CaSpki(_), Self::Pinned) => None,
        }
    }

    fn accepts_nothing(&self) -> bool {
        matches!(self, Self::CaSpki(keys) if keys.accepts_nothing())
    }
}

impl Chips {
    pub(super) fn strictness(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Any(_), Self::Any(_)) => Some(Equal),
            (Self::Listed(own), Self::Listed(other)) => within(own, other),
            (Self::Listed(_), Self::Any(_)) => Some(Greater),
            (Self::Any(_), Self::Listed(_)) => Some(Less),
        }
    }

    pub(super) fn accept_nothing(&self) -> bool {
        matches!(self, Self::Listed(chips) if chips.is_empty())
    }
}

impl Level for u32 {
    fn level(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    fn is_highest(&self) -> bool {
        *self == Self::MAX
    }
}

impl<const N: usize> Level for Version<N> {
    fn level(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    fn is_highest(&self) -> bool {
        self.0 == [u8::MAX; N]
    }
}

impl Level for Tcb {
    fn level(&self, other: &Self) -> Option<Ordering> {
        inclusion(self.covers(*other), other.covers(*self))
    }

    fn is_highest(&self) -> bool {
        [self.bootloader, self.tee, self.snp, self.microcode] == [u8::MAX; 4]
    }
}

impl Level for Masks {
    fn level(&self, other: &Self) -> Option<Ordering> {
        all([covers(self.launch, other.launch), covers(self.current, other.current)])
    }

    fn is_highest(&self) -> bool {
        false
    }
}

/// A shorter list is stricter.
fn within<T: PartialEq>(own: &[T], other: &[T]) -> Option<Ordering> {
    let among = |these: &[T], those: &[T]| these.iter().all(|item| those.contains(item));
    inclusion(among(own, other), among(other, own))
}

/// More bits are stricter.
fn covers(own: u64, other: u64) -> Option<Ordering> {
    inclusion(own & other == other, own & other == own)
}

fn inclusion(at_least: bool, at_most: bool) -> Option<Ordering> {
    match (at_least, at_most) {
        (true, true) => Some(Equal),
        (true, false) => Some(Greater),
        (false, true) => Some(Less),
        (false, false) => None,
    }
}

/// Of several parts: stricter if none is looser.
fn all(parts: impl IntoIterator<Item = Option<Ordering>>) -> Option<Ordering> {
    parts.into_iter().try_fold(Equal, |whole, part| match (whole, part?) {
        (Equal, part) => Some(part),
        (whole, Equal) => Some(whole),
        (whole, part) => (whole == part).then_some(whole),
    })
}
