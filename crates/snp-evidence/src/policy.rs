//! What a deployment accepts: one TOML file that states every policy check.
//!
//! The place of a rule in the file is the id of its check. A rule is a word (`"require"`, `"forbid"`), a
//! table with its one demand (`{ allow = […] }`, `{ minimum = … }` …), or `{ off = "reason" }`. An unknown,
//! missing or duplicate rule is an error, and all errors are reported at once. An empty list allows nothing.

mod observed;
mod read;
mod rule;
mod statement;
mod strictness;
mod values;
mod weakness;

use crate::{digest::sha256, product::Product, tcb::Tcb};

pub use observed::Observed;
use read::Reader;
pub(crate) use rule::{
    Allow, Bits, Bytes, Chips, Fixed, Identity, Masks, Measurements, MigrationAgent, Minimum, PerProduct,
    Rule, StaleBudget,
};
pub(crate) use rule::{FEATURES, PLATFORM};
pub use statement::{Change, Direction, Setting, Statement};
use values::{
    allow, bits, by_product, crl, digest, fixed, floors, hex_bytes, identity, integer, masks, measurements,
    migration_agent, minimum, report_version, tcb, text, version, versions, vmpl,
};
pub use weakness::Weakness;

/// A policy file, read completely.
#[expect(clippy::struct_field_names, reason = "fields are named as the rules in the file")]
#[derive(Clone, Debug)]
pub struct Policy {
    sha256: [u8; 32],
    pub(crate) products: [(Product, Chips); 3],
    /// Never off: the version decides how a report is read, and version 2 does not name its processor.
    pub(crate) report_version: Rule<Allow<u32>>,
    pub(crate) guest_policy: GuestPolicyRules,
    pub(crate) vmpl: Rule<Allow<u32>>,
    pub(crate) tcb: TcbRules,
    pub(crate) firmware_version: Rule<PerProduct<Minimum<Version<3>>>>,
    pub(crate) platform_info: Rule<PerProduct<Bits>>,
    pub(crate) mitigations: Rule<PerProduct<Minimum<Masks>>>,
    pub(crate) id_key: Rule<Allow<Bytes<48>>>,
    pub(crate) author_key: Rule<Allow<Bytes<48>>>,
    pub(crate) family_id: Rule<Allow<Bytes<16>>>,
    pub(crate) image_id: Rule<Allow<Bytes<16>>>,
    pub(crate) guest_svn: Rule<Minimum<u32>>,
    pub(crate) report_id: Rule<Allow<Bytes<32>>>,
    pub(crate) report_id_ma: Rule<MigrationAgent>,
    pub(crate) measurement: Rule<Measurements>,
    pub(crate) host_data: Rule<Allow<Bytes<32>>>,
    pub(crate) report_data: Rule<Fixed>,
    pub(crate) crl: Rule<StaleBudget>,
    pub(crate) vlek_csp: Rule<Allow<String>>,
    pub(crate) instance_identity: Rule<Identity>,
    pub(crate) gpu_evidence: Rule<Fixed>,
}

/// Rules about the policy the guest was launched with.
#[derive(Clone, Debug)]
pub(crate) struct GuestPolicyRules {
    pub(crate) debug: Rule<Fixed>,
    pub(crate) migration_agent: Rule<Fixed>,
    pub(crate) smt: Rule<Fixed>,
    pub(crate) single_socket: Rule<Fixed>,
    pub(crate) abi: Rule<Minimum<Version<2>>>,
    pub(crate) features: Rule<PerProduct<Bits>>,
}

/// Rules about the four TCB versions of a report.
#[derive(Clone, Debug)]
pub(crate) struct TcbRules {
    pub(crate) reported: Rule<PerProduct<Minimum<Tcb>>>,
    pub(crate) committed: Rule<PerProduct<Minimum<Tcb>>>,
    pub(crate) launch: Rule<PerProduct<Minimum<Tcb>>>,
    pub(crate) current: Rule<PerProduct<Minimum<Tcb>>>,
    pub(crate) committed_is_current: Rule<Fixed>,
    pub(crate) ordered: Rule<Fixed>,
}

/// Dotted version numbers, compared from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version<const N: usize>(pub(crate) [u8; N]);

/// Every problem of a policy file, one per line.
#[derive(Debug, thiserror::Error)]
#[error("policy is refused, {} problem(s):\n  {}", .0.len(), .0.join("\n  "))]
pub struct PolicyErrors(pub Vec<String>);

impl Policy {
    /// Reads a policy file (docs/spec/policy.md); reports every problem at once.
    pub fn parse(toml: &[u8]) -> Result<Self, PolicyErrors> {
        let mut file = Reader::parse(toml)?;
        file.version();
        let policy = Self::read(&mut file, sha256(toml));
        file.finish().map(|()| policy)
    }

    /// SHA-256 of the exact bytes given to [`Policy::parse`].
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Whether evidence without a revocation list is refused (rule `crl`).
    pub fn requires_crl(&self) -> bool {
        self.crl.demand().is_some()
    }

    pub(crate) fn chips(&self, product: Product) -> Option<&Chips> {
        self.products.iter().find_map(|(own, chips)| (*own == product).then_some(chips))
    }

    /// Whether any chip of the product can be accepted.
    pub(crate) fn accepts(&self, product: Product) -> bool {
        self.chips(product).is_some_and(|chips| !chips.accept_nothing())
    }

    fn read(file: &mut Reader, sha256: [u8; 32]) -> Self {
        Self {
            sha256,
            products: Product::ALL.map(|product| (product, file.chips(product))),
            report_version: file.always_on("report_version", allow(report_version)),
            guest_policy: GuestPolicyRules::read(file),
            vmpl: file.rule("vmpl", allow(vmpl)),
            tcb: TcbRules::read(file),
            firmware_version: file.rule("firmware_version", versions),
            platform_info: file.rule("platform_info", by_product(bits(PLATFORM))),
            mitigations: file.rule("mitigations", floors(masks)),
            id_key: file.rule("id_key", allow(digest)),
            author_key: file.rule("author_key", allow(digest)),
            family_id: file.rule("family_id", allow(hex_bytes)),
            image_id: file.rule("image_id", allow(hex_bytes)),
            guest_svn: file.rule("guest_svn", minimum(integer)),
            report_id: file.rule("report_id", allow(hex_bytes)),
            report_id_ma: file.rule("report_id_ma", migration_agent),
            measurement: file.rule("measurement", measurements),
            host_data: file.rule("host_data", allow(hex_bytes)),
            report_data: file.rule("report_data", fixed("require")),
            crl: file.rule("crl", crl),
            vlek_csp: file.rule("vlek.csp", allow(text)),
            instance_identity: file.rule("instance.identity", identity),
            gpu_evidence: file.rule("gpu_evidence", fixed("require")),
        }
    }
}

impl GuestPolicyRules {
    fn read(file: &mut Reader) -> Self {
        Self {
            debug: file.rule("guest_policy.debug", fixed("forbid")),
            migration_agent: file.rule("guest_policy.migration_agent", fixed("forbid")),
            smt: file.rule("guest_policy.smt", fixed("forbid")),
            single_socket: file.rule("guest_policy.single_socket", fixed("require")),
            abi: file.rule("guest_policy.abi", minimum(version)),
            features: file.rule("guest_policy.features", by_product(bits(FEATURES))),
        }
    }
}

impl TcbRules {
    fn read(file: &mut Reader) -> Self {
        Self {
            reported: file.rule("tcb.reported", floors(tcb)),
            committed: file.rule("tcb.committed", floors(tcb)),
            launch: file.rule("tcb.launch", floors(tcb)),
            current: file.rule("tcb.current", floors(tcb)),
            committed_is_current: file.rule("tcb.committed_is_current", fixed("require")),
            ordered: file.rule("tcb.ordered", fixed("require")),
        }
    }
}
