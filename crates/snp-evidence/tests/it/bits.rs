//! No single bit of an accepted report may change without refusal.

use snp_evidence::{ReportData, verify};

use crate::{
    support::{at, captured, load, policy},
    world::{Case, NOW},
};

/// Of the real report, one bit in so many is tried, to bound the time.
const SAMPLE: usize = 23;

#[test]
fn every_flipped_bit_of_a_simulated_report_is_refused() {
    let case = Case::new();
    let expected = ReportData::compute(
        case.asked.purpose,
        &snp_evidence::NonceTree::new(vec![[1; 48]]).root(),
        b"manifest",
        b"claims",
    );
    let policy = snp_evidence::Policy::parse(case.policy.as_bytes()).unwrap();
    let genuine = case.sign(&expected);
    verify(&genuine, &case.roots, &policy, &expected, NOW).unwrap_or_else(|refusal| panic!("{refusal}"));
    for bit in 0..genuine.report.len() * 8 {
        let mut flipped = genuine.clone();
        flipped.report[bit / 8] ^= 1 << (bit % 8);
        let verdict = verify(&flipped, &case.roots, &policy, &expected, NOW);
        assert!(verdict.is_err(), "bit {} of byte {:#x} may be flipped", bit % 8, bit / 8);
    }
}

#[test]
fn flipped_bits_of_a_real_report_are_refused() {
    let Some(folder) = captured() else { return };
    let (genuine, policy) = (load(&folder.join("turin-v5-vcek-oak")), policy("cryptographic.toml"));
    let roots = snp_evidence::TrustRoots::amd();
    for bit in (0..genuine.report.len() * 8).step_by(SAMPLE) {
        let mut flipped = genuine.clone();
        flipped.report[bit / 8] ^= 1 << (bit % 8);
        let verdict = snp_evidence::examine(&flipped, &roots, &policy, at("2026-09-01T00:00:00Z"));
        assert!(verdict.is_err(), "bit {} of byte {:#x} may be flipped", bit % 8, bit / 8);
    }
}
