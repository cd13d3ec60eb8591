//! Published weaknesses that a policy can demand something against, as dated data.
//!
//! Nothing here is enforced: a policy states its floors itself. Explanations name these behind a floor, and mark those
//! that nobody has confirmed against the maker's own bulletin.

mod remedy;

use crate::{policy::Policy, product::Product};

pub use remedy::Remedy;

/// One bulletin or paper, and what a policy can demand because of it.
#[derive(Clone, Copy, Debug)]
pub struct Advisory {
    /// Name by which it is known: AMD's bulletin number, or the paper's.
    pub id: &'static str,
    /// CVE numbers, where there are any.
    pub cves: &'static [&'static str],
    /// What an attacker gains, in a few words.
    pub summary: &'static str,
    /// What helps; empty if no number is known.
    pub demands: &'static [Demand],
    /// Day on which the demands were compared with the maker's own text; `None` if nobody has done so.
    pub confirmed: Option<&'static str>,
    /// Day as of which this entry tells the state.
    pub as_of: &'static str,
    /// Where the demands were read.
    pub source: &'static str,
}

/// What a policy can ask for.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Which product it is about; `None` for all.
    pub product: Option<Product>,
    /// Rule of the policy file; `product` for that of each product.
    pub rule: &'static str,
    /// What the rule has to ask for.
    pub remedy: Remedy,
}

impl Demand {
    /// Whether the policy asks for it, of every product that it accepts.
    pub fn met_by(&self, policy: &Policy) -> bool {
        let concerned = self.concerned(policy);
        concerned.iter().all(|product| self.remedy.asked_by(policy, *product))
    }

    /// Whether the policy accepts a product that this is about.
    pub fn concerns(&self, policy: &Policy) -> bool {
        !self.concerned(policy).is_empty()
    }

    /// Whether the rule of this id is meant.
    pub fn is_about(&self, id: &str) -> bool {
        self.rule == id || (self.rule == "product" && id.starts_with("product."))
    }

    fn concerned(&self, policy: &Policy) -> Vec<Product> {
        let meant = |product: &Product| self.product.is_none_or(|own| own == *product);
        Product::ALL.into_iter().filter(|product| meant(product) && policy.accepts(*product)).collect()
    }
}

const fn demand(product: Product, rule: &'static str, remedy: Remedy) -> Demand {
    Demand { product: Some(product), rule, remedy }
}

const fn everywhere(rule: &'static str, remedy: Remedy) -> Demand {
    Demand { product: None, rule, remedy }
}

/// Newest first.
pub const ADVISORIES: &[Advisory] = &[
    Advisory {
        id: "arXiv 2605.12990",
        cves: &[],
        summary: "software on the host extracts the root seed of Milan chips, and with it forges reports for any TCB",
        demands: &[demand(Product::Milan, "product.milan", Remedy::ListedChips)],
        confirmed: None,
        as_of: "2026-11-23",
        source: "the paper's abstract; no bulletin of AMD's was read",
    },
    Advisory {
        id: "symbolic model of SEV-SNP",
        cves: &[],
        summary: "messages of the guest are bound to no platform, so that parts of a report can be another's",
        demands: &[
            everywhere("guest_policy.migration_agent", Remedy::NoMigrationAgent),
            everywhere("report_id_ma", Remedy::NoMigrationAgent),
            everywhere("product", Remedy::ListedChips),
        ],
        confirmed: None,
        as_of: "2026-11-23",
        source: "a ProVerif model listed in 2026; a paper, not a bulletin",
    },
    Advisory {
        id: "KVM VMSA locking",
        cves: &["CVE-2026-31591"],
        summary: "a fault of the hypervisor, seen from outside through the firmware's levels at most",
        demands: &[],
        confirmed: None,
        as_of: "2026-11-23",
        source: "not read; whether any firmware level tells is unknown here",
    },
    Advisory {
        id: "TEE.fail",
        cves: &[],
        summary: "an interposer on the DDR5 bus reads keys; whoever has the machine can forge its evidence",
        demands: &[everywhere("product", Remedy::ListedChips)],
        confirmed: None,
        as_of: "2026-11-23",
        source: "reports of October 2025",
    },
    Advisory {
        id: "Battering RAM",
        cves: &[],
        summary: "an interposer on the memory bus makes two addresses one after the checks at boot",
        demands: &[everywhere("product", Remedy::ListedChips)],
        confirmed: None,
        as_of: "2026-11-23",
        source: "not read; a physical attack, which no firmware level answers",
    },
    Advisory {
        id: "AMD-SB-3020",
        cves: &["CVE-2025-0033"],
        summary: "RMPocalypse: the host corrupts the reverse map table while it is set up",
        demands: &[],
        confirmed: None,
        as_of: "2026-11-23",
        source: "not read; the firmware levels are unknown here",
    },
    Advisory {
        id: "AMD-SB-3021",
        cves: &[],
        summary: "Heracles: the host moves encrypted pages and learns what they hold",
        demands: &[everywhere(
            "guest_policy.features",
            Remedy::PolicyBits(&["ciphertext_hiding", "page_swap_disabled"]),
        )],
        confirmed: None,
        as_of: "2026-11-23",
        source: "not read; which bit helps on which product is unknown here",
    },
    Advisory {
        id: "StackWarp",
        cves: &["CVE-2025-29943"],
        summary: "a sibling thread of the host changes the guest's stack pointer",
        demands: &[everywhere("guest_policy.smt", Remedy::NoSmt)],
        confirmed: None,
        as_of: "2026-11-23",
        source: "not read; newer microcode helps as well, of a level that is unknown here",
    },
    Advisory {
        id: "AMD-SB-3019",
        cves: &["CVE-2024-56161"],
        summary: "EntrySign: the host loads microcode that AMD did not sign",
        demands: &[
            demand(Product::Milan, "tcb.reported", Remedy::SnpLevel(24)),
            demand(Product::Genoa, "tcb.reported", Remedy::SnpLevel(23)),
        ],
        confirmed: None,
        as_of: "2026-11-23",
        source: "issue 6812 of microsoft/CCF",
    },
    Advisory {
        id: "AMD-SB-3015",
        cves: &["CVE-2024-21944"],
        summary: "BadRAM: a memory module that lies about its size makes two addresses one",
        demands: &[
            everywhere("platform_info", Remedy::PlatformBits(&["alias_check_complete"])),
            demand(Product::Milan, "firmware_version", Remedy::Firmware([1, 55, 22])),
            demand(Product::Genoa, "firmware_version", Remedy::Firmware([1, 55, 38])),
        ],
        confirmed: None,
        as_of: "2026-11-23",
        source: "issue 108 of virtee/snphost: the builds from which on the bit is reported",
    },
    Advisory {
        id: "AMD-SB-3007",
        cves: &["CVE-2023-20573", "CVE-2023-31346"],
        summary: "debug exceptions that never reach the guest, and stale data of other guests",
        demands: &[],
        confirmed: None,
        as_of: "2026-11-23",
        source: "not read; the firmware levels are unknown here",
    },
    Advisory {
        id: "AMD-SB-3005",
        cves: &["CVE-2023-20592"],
        summary: "CacheWarp: the host undoes writes of the guest",
        demands: &[],
        confirmed: None,
        as_of: "2026-11-23",
        source: "not read; the microcode levels are unknown here",
    },
    Advisory {
        id: "amd-sp-glitch",
        cves: &[],
        summary: "who has the machine takes a Milan chip's key by a voltage glitch of its secure processor",
        demands: &[demand(Product::Milan, "product.milan", Remedy::ListedChips)],
        confirmed: None,
        as_of: "2026-11-23",
        source: "PSPReverse/amd-sp-glitch; no bulletin was read",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{UnixTime, checks};

    fn is_day(day: &str) -> bool {
        UnixTime::parse_rfc3339(&format!("{day}T00:00:00Z")).is_some()
    }

    #[test]
    fn every_entry_is_dated_and_speaks_of_rules_that_exist() {
        for advisory in ADVISORIES {
            assert!(is_day(advisory.as_of) && advisory.confirmed.is_none_or(is_day), "{advisory:?}");
            for Demand { rule, .. } in advisory.demands {
                let known = checks::report().any(|check| check.id == *rule || *rule == "product.milan");
                assert!(known, "{rule}");
            }
        }
    }

    /// Floors of the committed policies would have to come from confirmed entries, and there are none.
    #[test]
    fn no_committed_policy_enforces_what_nobody_confirmed() {
        assert!(ADVISORIES.iter().all(|advisory| advisory.confirmed.is_none()));
        for policy in [
            include_str!("../../../conformance/policies/strict.toml"),
            include_str!("../../../deploy/config/policy.toml"),
            include_str!("../../dev-stack/src/policy.toml"),
        ] {
            let floors = ["reported", "committed", "launch", "current", "firmware_version", "mitigations"];
            let rules = policy.lines().filter_map(|line| line.split_once(" = "));
            for (rule, value) in rules.filter(|(rule, _)| floors.contains(rule)) {
                assert!(value.starts_with("{ off = "), "{rule} = {value}");
            }
        }
    }
}
