//! What the file packs into numbers: the guest policy and the platform's bits.

use super::{Import, fields::Fields};

/// Bits of the guest policy that protect, by our names.
const PROTECTIONS: [(&str, u32); 4] = [
    ("memory_aes_256_xts", 22),
    ("rapl_disabled", 23),
    ("ciphertext_hiding", 24),
    ("page_swap_disabled", 25),
];
const CXL: u32 = 21;
/// Reads one in every guest policy.
const ALWAYS_ONE: u32 = 17;

/// Bits of `PLATFORM_INFO` but SMT, by our names.
const PLATFORM: [(&str, u32); 6] = [
    ("tsme", 1),
    ("ecc", 2),
    ("rapl_disabled", 3),
    ("ciphertext_hiding", 4),
    ("alias_check_complete", 5),
    ("iommu_write_safe", 6),
];

/// Capabilities are the most that is accepted; version and socket the least.
pub(super) fn policy(rules: &mut Fields, to: &mut Import) {
    let policy = rules.number("policy").filter(|policy| *policy != 0);
    let bits = policy.unwrap_or(u64::MAX);
    if policy.is_some() && (!bit(bits, ALWAYS_ONE) || bits >> 26 != 0) {
        rules.object("policy", "no guest policy: bit 17 is one, and bits 26 and on are zero in each");
    }
    let why = |because: &str| if policy.is_some() { because.to_owned() } else { "no policy".to_owned() };
    for (rule, capability, because) in [
        ("guest_policy.debug", 19, "policy allows debugging"),
        ("guest_policy.migration_agent", 18, "policy allows a migration agent"),
        ("guest_policy.smt", 16, "policy allows SMT"),
    ] {
        let forbidden = (!bit(bits, capability)).then(|| "\"forbid\"".to_owned());
        to.carry_or_leave_open(rule, forbidden, &why(because), "\"forbid\"");
    }
    let given = policy.unwrap_or_default();
    let socket = bit(given, 20).then(|| "\"require\"".to_owned());
    to.carry_or_leave_open(
        "guest_policy.single_socket",
        socket,
        &why("policy does not ask for it"),
        "\"require\"",
    );
    let [minor, major, ..] = given.to_le_bytes();
    let abi = (major != 0 || minor != 0).then(|| format!("{{ minimum = \"{major}.{minor}\" }}"));
    to.carry_or_leave_open("guest_policy.abi", abi, &why("policy asks for 0.0"), "{ minimum = \"255.255\" }");
    features(given, &why("policy asks for no protection"), to);
    vmpl(rules, to);
}

fn features(policy: u64, because: &str, to: &mut Import) {
    let clear = if bit(policy, CXL) { "" } else { "\"cxl\"" };
    let wanted = (!names(&PROTECTIONS, policy).is_empty())
        .then(|| format!("{{ set = [{}], clear = [{clear}] }}", names(&PROTECTIONS, policy)));
    let all = format!("{{ set = [{}], clear = [\"cxl\"] }}", names(&PROTECTIONS, u64::MAX));
    to.carry_or_leave_open("guest_policy.features", wanted, because, &all);
}

fn vmpl(rules: &mut Fields, to: &mut Import) {
    let vmpl = rules.number("vmpl");
    if vmpl.is_some_and(|vmpl| vmpl > 3) {
        rules.object("vmpl", "need 0 to 3");
    }
    let vmpl = vmpl.filter(|vmpl| *vmpl <= 3).map(|vmpl| format!("{{ allow = [{vmpl}] }}"));
    to.carry_or_leave_open("vmpl", vmpl, "no vmpl", "{ allow = [0] }");
}

pub(super) fn platform(rules: &mut Fields, to: &mut Import) {
    let info = rules.number("platform_info");
    if info.is_some_and(|info| info >> 8 != 0) {
        rules.object("platform_info", "bits 8 and on have no name here");
    }
    let info = info.map(|info| {
        let clear = if bit(info, 0) { "" } else { "\"smt\"" };
        format!("{{ set = [{}], clear = [{clear}] }}", names(&PLATFORM, info))
    });
    let strict = "{ set = [\"alias_check_complete\"], clear = [] }";
    to.carry_or_leave_open("platform_info", info, "no platform_info", strict);
}

fn bit(bits: u64, bit: u32) -> bool {
    bits & (1 << bit) != 0
}

fn names(names: &[(&str, u32)], bits: u64) -> String {
    let set = names.iter().filter(|(_, position)| bit(bits, *position));
    set.map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
