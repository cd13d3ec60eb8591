//! No bytes make the verifier panic, and none that nobody vouched for pass.

use std::sync::LazyLock;

use azure_vtpm::{AzureEvidence, Nonce, appraise, snp_report};
use proptest::{collection::vec, prelude::*};
use snp_evidence::{Endorsements, Policy, TrustRoots};

use crate::world::{Case, NONCE, NOW, roots};

struct Genuine {
    evidence: AzureEvidence,
    roots: TrustRoots,
    policy: Policy,
    nonce: Nonce,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let case = Case::new();
    let policy = Policy::parse(case.policy.as_bytes()).unwrap();
    Genuine { evidence: case.make(), roots: roots(), policy, nonce: Nonce::new(NONCE).unwrap() }
});

fn accepted(evidence: &AzureEvidence) -> bool {
    let Genuine { roots, policy, nonce, .. } = &*GENUINE;
    appraise(evidence, roots, policy, nonce, NOW).is_ok()
}

/// Header versions 1 and 2, more zeros at the end and a copy left out mean the same.
fn says_the_same(evidence: &AzureEvidence) -> bool {
    let parts = |evidence: &AzureEvidence| {
        let report = snp_report(&evidence.hcl_report)?.to_vec();
        Some((report, runtime_data(&evidence.hcl_report)?.to_vec(), evidence.quote.clone()))
    };
    parts(evidence).is_some_and(|own| Some(own) == parts(&GENUINE.evidence))
}

/// Where version 1 and 2 of the data have it, read without the verifier.
fn runtime_data(hcl_report: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(hcl_report.get(at..at + 4)?.try_into().unwrap()) as usize);
    let start = if word(0x4C4)? == 2 { 0x4D8 } else { 0x4D4 };
    hcl_report.get(start..start + word(0x4D0)?)
}

/// A few bytes written over a genuine value, and perhaps its end cut off.
fn damage(bytes: &mut Vec<u8>, edits: &[(usize, u8)], keep: usize) {
    for (at, value) in edits {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
    if keep.is_multiple_of(4) {
        bytes.truncate(keep % bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused(
        mut hcl_report in vec(any::<u8>(), 0..1500),
        runtime_data in vec(any::<u8>(), 0..64),
        mut quote in vec(any::<u8>(), 0..200),
        signature in vec(any::<u8>(), 0..300),
        pcrs in vec(any::<u8>(), 0..64),
        begins_well in any::<bool>(),
    ) {
        if begins_well {
            let set = |bytes: &mut Vec<u8>, start: &[u8]| bytes.iter_mut().zip(start).for_each(|(to, from)| *to = *from);
            set(&mut hcl_report, b"HCLA\x01\0\0\0");
            set(&mut quote, b"\xFFTCG\x80\x18\0\x22");
        }
        let (runtime_data, pcrs) = (Some(runtime_data), Some(pcrs));
        let endorsements = Endorsements::default();
        let evidence = AzureEvidence { hcl_report, runtime_data, quote, signature, pcrs, endorsements };
        prop_assert!(!accepted(&evidence));
    }

    #[test]
    fn damaged_evidence_is_refused_or_says_the_same(
        edits in vec((any::<usize>(), any::<u8>()), 1..4),
        keep in any::<usize>(),
        part in 0_usize..5,
    ) {
        let mut evidence = GENUINE.evidence.clone();
        damage(
            match part {
                0 => &mut evidence.hcl_report,
                1 => evidence.runtime_data.as_mut().unwrap(),
                2 => &mut evidence.quote,
                3 => &mut evidence.signature,
                _ => evidence.pcrs.as_mut().unwrap(),
            },
            &edits,
            keep,
        );
        prop_assert!(!accepted(&evidence) || says_the_same(&evidence));
    }

    #[test]
    fn damaged_headers_are_refused_or_say_the_same(
        edits in vec((0_usize..13, prop_oneof![0_u32..8, 1100_u32..2600, any::<u32>()]), 1..4),
    ) {
        let mut evidence = GENUINE.evidence.clone();
        for (word, value) in edits {
            // The paravisor's own words stand around the SNP report: 8 before it, 5 behind.
            let at = if word < 8 { 4 * word } else { 0x4C0 + 4 * (word - 8) };
            evidence.hcl_report[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        prop_assert!(!accepted(&evidence) || says_the_same(&evidence));
    }
}
