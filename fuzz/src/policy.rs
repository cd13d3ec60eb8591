//! A policy: no text lets forged evidence pass, and none makes genuine evidence less genuine.

use std::sync::LazyLock;

use snp_evidence::{Evidence, Policy, RefusalClass};

use crate::{
    machine::{MACHINE, somewhere},
    seeds,
};

pub fn seed() {
    // Making keys takes seconds, which are not the fuzzer's.
    LazyLock::force(&MACHINE);
    let policies = [
        include_str!("../../conformance/policies/cryptographic.toml"),
        include_str!("../../conformance/policies/strict.toml"),
        include_str!("../../crates/snp-evidence/tests/it/demanding.toml"),
        include_str!("../../crates/snp-evidence/tests/it/every-form.toml"),
    ];
    seeds::write(policies.map(|text| text.as_bytes().to_vec()));
}

pub fn run(data: &[u8]) {
    let Ok(policy) = Policy::parse(data) else { return };
    if let Err(refusal) = MACHINE.examine_under(&MACHINE.genuine, &policy) {
        // The list came along and is good, so that a policy can only dislike what is proven.
        let class = refusal.class();
        assert!(matches!(class, RefusalClass::OutOfPolicy | RefusalClass::Channel), "{refusal}");
    }
    assert!(MACHINE.examine_under(&forged(data), &policy).is_err(), "accepts a forged report");
}

/// The genuine report with some bit of it flipped.
fn forged(data: &[u8]) -> Evidence {
    let mut evidence = MACHINE.genuine.clone();
    let bit = somewhere(data, 8 * evidence.report.len());
    evidence.report[bit / 8] ^= 1 << (bit % 8);
    evidence
}
