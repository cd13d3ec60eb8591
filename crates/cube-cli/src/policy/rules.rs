//! What each rule is for, and what it says in a policy that nothing is known for yet: in the order of the file.

/// One rule of a policy file.
pub(crate) struct RuleText {
    pub(crate) id: &'static str,
    /// Value that accepts least and still can be met; where only the user knows it, one that nothing can meet.
    pub(crate) safe: &'static str,
    /// Whom or what it stops.
    pub(crate) stops: &'static str,
    /// What to think of when setting it.
    pub(crate) advice: &'static str,
}

pub(crate) fn text_of(id: &str) -> Option<&'static RuleText> {
    RULES.iter().find(|rule| rule.id == id)
}

const fn rule(id: &'static str, safe: &'static str, stops: &'static str, advice: &'static str) -> RuleText {
    RuleText { id, safe, stops, advice }
}

const NO_CHIPS: &str = r#"{ allow = "chips", chips = [] }"#;
const NO_FLOOR: &str = r#"{ off = "no floor is confirmed against AMD's bulletins" }"#;
const NO_ID_BLOCK: &str = r#"{ off = "the guest is launched without an ID block" }"#;

#[rustfmt::skip]
pub(crate) const RULES: &[RuleText] = &[
    rule("report_version", "{ allow = [3, 4, 5] }",
        "reports that do not name their processor",
        "Version 2 names none: the product is then that of the certificate's issuer."),
    rule("vmpl", "{ allow = [0] }",
        "reports asked for from a less privileged level, and by the host itself",
        "0 is the guest without a paravisor; clouds with one often ask at another level."),
    rule("firmware_version", NO_FLOOR,
        "hosts that can go back to older secure-processor firmware",
        "{ minimum = { genoa = \"1.55.40\" } }. Confirm a number before you copy it (`cube policy explain`)."),
    rule("platform_info", "{ set = [\"alias_check_complete\"], clear = [] }",
        "hosts whose memory was not checked for aliases at boot (BadRAM), or with other protections off",
        "Firmware older than the check never sets the bit."),
    rule("mitigations", "{ off = \"stated from report version 5 on only\" }",
        "hosts that lack mitigations, at launch or now",
        "{ minimum = { turin = { launch = \"0x1\", current = \"0x1\" } } }; both, since a live update changes one."),
    rule("id_key", NO_ID_BLOCK,
        "images that your key did not sign",
        "{ allow = [\"SHA-384 of your ID key\"] } where guests are launched with an ID block."),
    rule("author_key", NO_ID_BLOCK,
        "ID keys that your author key did not certify",
        "{ allow = [\"SHA-384 of your author key\"] }."),
    rule("family_id", NO_ID_BLOCK,
        "images of another family",
        "Comes with the ID block, and is as trustworthy as its key."),
    rule("image_id", NO_ID_BLOCK,
        "other images of your key's",
        "Comes with the ID block."),
    rule("guest_svn", NO_ID_BLOCK,
        "old images of your own with known faults",
        "Comes with the ID block."),
    rule("report_id", "{ off = \"every launch has another one\" }",
        "every other launch of the same image",
        "Only for pinning one running guest."),
    rule("report_id_ma", "\"forbid\"",
        "guests that a migration agent may move elsewhere",
        ""),
    rule("host_data", "{ allow = [] }",
        "your image under another configuration: backend, identities, policy",
        "SHA-256 of measured.toml, as `sha256sum measured.toml` prints it."),
    rule("report_data", "\"require\"",
        "stored reports, which anybody can show",
        "Live evidence is compared with nonce and channel whatever stands here."),
    rule("crl", "\"require\"",
        "chips under a certificate authority that AMD withdrew",
        "{ stale_days = 3 } for a list up to 7 days late; { off = \"why\" } where evidence comes without AMD's list."),
    rule("gpu_evidence", "{ off = \"no GPU evidence is judged: only CPU memory is proven\" }",
        "unproven GPUs that see prompts",
        "This version judges none, so that only off can be met."),
    rule("measurement", "{ allow = [], covers = \"userspace\" }",
        "software other than yours",
        "`cube measure` computes it. covers = \"kernel-only\" needs a reason: then the host can change the programs."),
    rule("product.milan", NO_CHIPS,
        "evidence forged with a key taken from somebody else's Milan: software can extract them",
        "List chips under your own control, by VCEK: 64 bytes each. An empty list refuses the product."),
    rule("product.genoa", NO_CHIPS,
        "Genoa, Bergamo and Siena chips in places that you do not know",
        "64 bytes each, or { allow = \"any\", reason = \"why\" }. An empty list refuses the product."),
    rule("product.turin", NO_CHIPS,
        "Turin chips in places that you do not know",
        "8 bytes each, or { allow = \"any\", reason = \"why\" }. An empty list refuses the product."),
    rule("guest_policy.debug", "\"forbid\"",
        "a host that reads and writes the guest's memory through the debugging interface",
        ""),
    rule("guest_policy.migration_agent", "\"forbid\"",
        "a host that has the guest moved by an agent of its own",
        ""),
    rule("guest_policy.smt", "{ off = \"SMT is on nearly everywhere\" }",
        "another guest's thread on the same core, and what it learns or changes there",
        "\"forbid\" where your hosts run without SMT."),
    rule("guest_policy.single_socket", "{ off = \"most hosts have two sockets\" }",
        "memory and keys that travel between sockets",
        ""),
    rule("guest_policy.abi", "{ off = \"no version is known to matter\" }",
        "firmware with an older interface than the guest was launched for",
        "{ minimum = \"1.55\" }."),
    rule("guest_policy.features", "{ off = \"depends on the host\" }",
        "hosts on which the guest would start without these protections",
        "{ set = [\"ciphertext_hiding\"], clear = [] } and others, see docs/spec/policy.md."),
    rule("tcb.reported", NO_FLOOR,
        "evidence by keys of older firmware, which may be known",
        "{ minimum = { genoa = { bootloader = 0, tee = 0, snp = 0, microcode = 0 } } }, each at least."),
    rule("tcb.committed", NO_FLOOR,
        "hosts that can go back to older firmware",
        "As tcb.reported."),
    rule("tcb.launch", NO_FLOOR,
        "guests launched on older firmware, whose faults they keep",
        "As tcb.reported."),
    rule("tcb.current", NO_FLOOR,
        "hosts that run older firmware now",
        "As tcb.reported."),
    rule("tcb.committed_is_current", "\"require\"",
        "provisional firmware, which the host can take back under a running guest",
        ""),
    rule("tcb.ordered", "\"require\"",
        "hosts that report firmware other than they run",
        ""),
    rule("vlek.csp", "{ allow = [] }",
        "reports by a cloud provider's key (VLEK), which names no chip",
        "{ allow = [\"CN=…\"] } for a provider you trust with that; an empty list accepts VCEKs only."),
    rule("instance.identity", "\"require\"",
        "a genuine twin of your instance on somebody else's machine",
        "Holds where chips, host_data or id_key are pinned; or { ca_spki = [\"SHA-256\"] }, the CVM's own CA key."),
];

#[cfg(test)]
mod tests {
    use snp_evidence::{Direction, Policy, Setting};

    use super::*;
    use crate::policy::draft::Draft;

    #[test]
    fn every_rule_of_a_policy_has_its_words_and_no_other() {
        let (_, policy) = Draft::new("test".to_owned()).finish().unwrap();
        let told = policy.statements();
        assert_eq!(told.len(), RULES.len());
        assert!(
            told.iter().all(|statement| text_of(statement.id).is_some_and(|rule| !rule.stops.is_empty()))
        );
    }

    /// Advisories are told, and their floors are for the user to state.
    #[test]
    fn no_floor_is_enforced_that_nobody_confirmed() {
        let (_, policy) = Draft::new("test".to_owned()).finish().unwrap();
        let floor =
            |id: &str| id.starts_with("tcb.") && !id.contains("ordered") && !id.contains("committed_is");
        for told in policy.statements() {
            let floor =
                floor(told.id) || ["firmware_version", "mitigations", "guest_policy.abi"].contains(&told.id);
            assert!(!floor || told.setting == Setting::Off, "{told:?}");
        }
    }

    /// What is looser than the example that all deployments can meet says why.
    #[test]
    fn nothing_is_weaker_than_the_strict_example_without_a_reason() {
        let strict = include_bytes!("../../../../conformance/policies/strict.toml");
        let (_, policy) = Draft::new("test".to_owned()).finish().unwrap();
        for change in Policy::parse(strict).unwrap().compare(&policy) {
            assert!(change.direction != Direction::Looser || change.to.reason.is_some(), "{change:?}");
        }
    }
}
