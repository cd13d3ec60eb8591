//! What a policy that reads well still lets through.

use super::{Bytes, Chips, Identity, Policy, Rule, rule::Covers};
use crate::{product::Product, report::HOST_REQUESTED};

/// A weak spot, which is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    /// The rule to look at.
    pub id: &'static str,
    /// What gets through.
    pub what: &'static str,
}

impl Policy {
    /// Weak spots, gravest first. Rules that are off without appearing here tell their reason in [`Self::statements`].
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let found = [
            ("guest_policy.debug", self.allows_debugging(), "the host may read and write the guest's memory"),
            (
                "measurement",
                matches!(self.measurement, Rule::Off(_)),
                "software is not judged: whatever runs there is accepted",
            ),
            (
                "measurement",
                self.covers_kernel_only(),
                "the measurement covers the kernel only: the host can change the programs",
            ),
            (
                "instance.identity",
                !self.tells_twins_apart(),
                "nothing tells your instance from a genuine twin on somebody else's machine: pin host_data, chips, \
                 id_key or ca_spki",
            ),
            (
                "host_data",
                self.host_data.demand().is_some_and(|allowed| allowed.has(&Bytes([0; 32]))),
                "zero is accepted, which every guest has that was launched without HOST_DATA",
            ),
            (
                "product.milan",
                matches!(self.chips(Product::Milan), Some(Chips::Any(_))),
                "any Milan is accepted: software can extract the keys of these chips, and forge reports with them",
            ),
            (
                "report_version",
                self.report_version.demand().is_some_and(|allowed| allowed.has(&2)),
                "version 2 is accepted, which does not name its processor",
            ),
            (
                "vmpl",
                self.vmpl.demand().is_some_and(|allowed| allowed.has(&HOST_REQUESTED)),
                "reports are accepted that the host asked for, not the guest",
            ),
        ];
        found.into_iter().filter_map(|(id, is, what)| is.then_some(Weakness { id, what })).collect()
    }

    fn allows_debugging(&self) -> bool {
        self.guest_policy.debug.demand().is_none()
    }

    fn covers_kernel_only(&self) -> bool {
        self.measurement.demand().is_some_and(|wanted| matches!(wanted.covers, Covers::KernelOnly(_)))
    }

    /// As the check `instance.identity` sees it, whether or not it is on.
    fn tells_twins_apart(&self) -> bool {
        let chips = Product::ALL.iter().all(|product| !matches!(self.chips(*product), Some(Chips::Any(_))));
        let ca = matches!(self.instance_identity.demand(), Some(Identity::CaSpki(_)));
        chips || ca || self.host_data.demand().is_some() || self.id_key.demand().is_some()
    }
}
