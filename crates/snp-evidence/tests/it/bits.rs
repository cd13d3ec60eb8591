//! No single bit of accepted evidence may change without refusal. Of real evidence a sample is tried here, and every
//! bit and byte by `cargo xtask conformance fuzz`.

use std::fs;

use snp_evidence::{Evidence, Policy, TrustRoots, Vek, examine, verify};

use crate::{
    support::{at, captured, edited, load},
    world::{Case, NOW},
};

/// Of a real report, one bit in so many is tried, and of its certificates one byte, to bound the time.
const SAMPLE: usize = 101;

#[test]
fn every_flipped_bit_of_a_simulated_report_is_refused() {
    let case = Case::new();
    let expected = case.asked.report_data_alone(b"manifest", b"claims");
    let policy = Policy::parse(case.policy.as_bytes()).unwrap();
    let (genuine, roots) = (case.sign(&expected), case.roots.remembering(1));
    verify(&genuine, &roots, &policy, &expected, NOW).unwrap_or_else(|refusal| panic!("{refusal}"));
    for bit in 0..genuine.report.len() * 8 {
        let mut flipped = genuine.clone();
        flipped.report[bit / 8] ^= 1 << (bit % 8);
        let verdict = verify(&flipped, &roots, &policy, &expected, NOW);
        assert!(verdict.is_err(), "bit {} of byte {:#x} may be flipped", bit % 8, bit / 8);
    }
}

/// Real reports of each product, with the day's list.
fn genuine() -> Option<Vec<Evidence>> {
    let folder = captured()?;
    let with_list = |(id, list): &(&str, &str)| {
        let mut evidence = load(&folder.join(id));
        evidence.endorsements.crl = Some(fs::read(folder.join("amd-ca").join(list)).unwrap());
        evidence
    };
    let reports = [
        ("milan-v3-vcek-dstack", "milan-20260819.crl"),
        ("genoa-v2-vcek-oak", "genoa-20260819.crl"),
        ("turin-v5-vcek-oak", "turin-20260819.crl"),
    ];
    Some(reports.iter().map(with_list).collect())
}

fn accepts(evidence: &Evidence, policy: &Policy) -> bool {
    const DAY: &str = "2026-09-01T00:00:00Z";
    examine(evidence, &TrustRoots::amd(), policy, at(DAY)).is_ok()
}

#[test]
fn flipped_bits_of_real_reports_are_refused() {
    let policy = edited("cryptographic.toml", &[("crl", "\"require\"")]);
    for genuine in genuine().into_iter().flatten() {
        assert!(accepts(&genuine, &policy));
        for bit in (0..genuine.report.len() * 8).step_by(SAMPLE) {
            let mut flipped = genuine.clone();
            flipped.report[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepts(&flipped, &policy), "bit {} of byte {:#x} may be flipped", bit % 8, bit / 8);
        }
    }
}

#[test]
fn changed_bytes_of_real_certificates_and_lists_are_refused() {
    let policy = edited("cryptographic.toml", &[("crl", "\"require\"")]);
    let parts: [fn(&mut Evidence) -> &mut Vec<u8>; 4] = [
        |evidence| match evidence.endorsements.vek.as_mut().unwrap() {
            Vek::Vcek(der) | Vek::Vlek(der) => der,
        },
        |evidence| evidence.endorsements.ask.as_mut().unwrap(),
        |evidence| evidence.endorsements.ark.as_mut().unwrap(),
        |evidence| evidence.endorsements.crl.as_mut().unwrap(),
    ];
    for mut genuine in genuine().into_iter().flatten() {
        for (which, part) in parts.iter().enumerate() {
            for byte in (0..part(&mut genuine).len()).step_by(SAMPLE).chain(0..16) {
                let mut changed = genuine.clone();
                part(&mut changed)[byte] ^= 1;
                assert!(!accepts(&changed, &policy), "byte {byte} of part {which} may be changed");
            }
        }
    }
}
