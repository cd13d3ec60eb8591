//! From a judged report to the rules that it just meets.

use super::{FEATURES, PLATFORM};
use crate::{
    product::Product,
    report::{HOST_REQUESTED, Report, SigningKey},
    tcb::{RawTcb, Tcb},
    verify::ReportFacts,
};

/// One rule, and the strictest useful value that the report meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Place in the policy file.
    pub rule: &'static str,
    /// What stands behind `=`.
    pub value: String,
}

impl ReportFacts {
    /// What a policy can demand because this report has it; left out is what it does not have, such as an ID key or a
    /// protection that is off. `measurement` is not here, since a report does not say what it covers.
    pub fn observed_rules(&self) -> Vec<Observed> {
        let (report, product) = (self.report(), self.product());
        let rules = [
            ("report_version", Some(format!("{{ allow = [{}] }}", report.version))),
            (super::statement::product_id(product), self.chip()),
            ("guest_policy.smt", word(!report.policy.smt(), "forbid")),
            ("guest_policy.single_socket", word(report.policy.single_socket(), "require")),
            ("guest_policy.abi", abi(report)),
            ("guest_policy.features", names(FEATURES, report.policy.0)),
            ("vmpl", (report.vmpl != HOST_REQUESTED).then(|| format!("{{ allow = [{}] }}", report.vmpl))),
            ("tcb.reported", Some(floor(product, report.reported_tcb))),
            ("tcb.committed", Some(floor(product, report.committed_tcb))),
            ("tcb.launch", Some(floor(product, report.launch_tcb))),
            ("tcb.current", Some(floor(product, report.current_tcb))),
            (
                "firmware_version",
                Some(format!("{{ minimum = {{ {product} = \"{}\" }} }}", report.committed_firmware)),
            ),
            ("platform_info", platform(report.platform_info)),
            ("mitigations", mitigations(product, report)),
            ("id_key", given(&report.id_key_digest)),
            ("author_key", report.key_info.author_key().then(|| allow(&report.author_key_digest))),
            ("family_id", id_block(report).then(|| allow(&report.family_id))),
            ("image_id", id_block(report).then(|| allow(&report.image_id))),
            ("guest_svn", id_block(report).then(|| format!("{{ minimum = {} }}", report.guest_svn))),
            ("report_id_ma", word(report.report_id_ma == [0xFF; 32], "forbid")),
            ("host_data", given(&report.host_data)),
            ("vlek.csp", self.provider()),
        ];
        rules.into_iter().filter_map(|(rule, value)| Some(Observed { rule, value: value? })).collect()
    }

    /// By VCEK only: a VLEK says nothing trustworthy about the chip.
    fn chip(&self) -> Option<String> {
        let own = self.report().key_info.signing_key() == SigningKey::Vcek;
        let id = crate::encoding::hex(self.chip_id());
        own.then(|| format!("{{ allow = \"chips\", chips = [\"{id}\"] }}"))
    }

    /// The check observed the provider that the VLEK's certificate names.
    fn provider(&self) -> Option<String> {
        let vlek = self.report().key_info.signing_key() == SigningKey::Vlek;
        let check = self.checks().iter().find(|check| check.id == "vlek.csp").filter(|_| vlek)?;
        Some(format!("{{ allow = [{}] }}", toml::Value::from(check.observed.as_str())))
    }
}

/// The image's own numbers come with an ID block only.
fn id_block(report: &Report) -> bool {
    report.id_key_digest != [0; 48]
}

fn word(is: bool, word: &str) -> Option<String> {
    is.then(|| format!("{word:?}"))
}

fn allow(bytes: &[u8]) -> String {
    format!("{{ allow = [\"{}\"] }}", crate::encoding::hex(bytes))
}

/// Zero is what a field has that nobody gave.
fn given(bytes: &[u8]) -> Option<String> {
    bytes.iter().any(|byte| *byte != 0).then(|| allow(bytes))
}

fn abi(report: &Report) -> Option<String> {
    let (major, minor) = report.policy.abi();
    (major != 0 || minor != 0).then(|| format!("{{ minimum = \"{major}.{minor}\" }}"))
}

fn floor(product: Product, raw: RawTcb) -> String {
    let Tcb { fmc, bootloader, tee, snp, microcode } = raw.of(product);
    let fmc = fmc.map_or_else(String::new, |fmc| format!("fmc = {fmc}, "));
    format!(
        "{{ minimum = {{ {product} = {{ {fmc}bootloader = {bootloader}, tee = {tee}, snp = {snp}, \
         microcode = {microcode} }} }} }}"
    )
}

/// Bits without a name are refused wherever the rule is on, so such a platform has none to state.
fn platform(bits: u64) -> Option<String> {
    let named = PLATFORM.iter().fold(0, |mask, (_, bit)| mask | 1 << bit);
    if bits & !named != 0 {
        return None;
    }
    let smt = 1;
    names(PLATFORM, bits & !smt)
}

fn names(names: &[(&str, u32)], bits: u64) -> Option<String> {
    let set: Vec<_> = names.iter().filter(|(_, bit)| bits & (1 << bit) != 0).collect();
    let set: Vec<_> = set.into_iter().map(|(name, _)| format!("{name:?}")).collect();
    (!set.is_empty()).then(|| format!("{{ set = [{}], clear = [] }}", set.join(", ")))
}

fn mitigations(product: Product, report: &Report) -> Option<String> {
    let found = report.mitigations.filter(|found| found.launch | found.current != 0)?;
    let (launch, current) = (found.launch, found.current);
    Some(format!(
        "{{ minimum = {{ {product} = {{ launch = \"{launch:#x}\", current = \"{current:#x}\" }} }} }}"
    ))
}
