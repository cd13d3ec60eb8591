//! No bytes make the verifier panic, and none that it did not judge pass.

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*};
use snp_evidence::{
    Bundle, Endorsements, Evidence, EvidenceFormat, KeyManifest, Policy, RuntimeClaims, TrustRoots, Vek,
    examine,
};

use crate::{
    support::policy,
    world::{Case, NOW, roots},
};

struct Genuine {
    evidence: Evidence,
    roots: TrustRoots,
    policy: Policy,
    bundle: Vec<u8>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let mut case = Case::new();
    // A list that nobody asks for may be damaged unnoticed.
    case.evidence = |e| e.endorsements.crl = None;
    let evidence = case.sign(&case.asked.report_data_alone(b"", b""));
    let bundle = case.bundle();
    Genuine { evidence, roots: roots(), policy: policy("cryptographic.toml"), bundle }
});

/// A few bytes written over a genuine value, and perhaps its end cut off.
fn damage(mut bytes: Vec<u8>, edits: &[(usize, u8)], keep: usize) -> Vec<u8> {
    for (at, value) in edits {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
    let length = bytes.len();
    if keep.is_multiple_of(4) {
        bytes.truncate(keep % length);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused(report in vec(any::<u8>(), 0..1300), der in vec(any::<u8>(), 0..400)) {
        let endorsements = Endorsements {
            vek: Some(Vek::Vcek(der.clone())),
            ask: Some(der.clone()),
            asvk: Some(der.clone()),
            ark: None,
            crl: Some(der.clone()),
        };
        let evidence = Evidence { format: EvidenceFormat::SimulatedAmdSevSnp, report, endorsements };
        prop_assert!(examine(&evidence, &GENUINE.roots, &GENUINE.policy, NOW).is_err());
        prop_assert!(Bundle::parse(&der).is_err());
        prop_assert!(KeyManifest::parse(&der).is_err());
        prop_assert!(RuntimeClaims::parse(&der).is_err());
        prop_assert!(Policy::parse(&der).is_err());
        prop_assert!(TrustRoots::simulated(&der).is_err());
    }

    #[test]
    fn damaged_reports_are_refused(edits in vec((any::<usize>(), any::<u8>()), 1..4), keep in any::<usize>()) {
        let mut evidence = GENUINE.evidence.clone();
        evidence.report = damage(evidence.report, &edits, keep);
        let unchanged = evidence == GENUINE.evidence;
        prop_assert_eq!(examine(&evidence, &GENUINE.roots, &GENUINE.policy, NOW).is_ok(), unchanged);
    }

    #[test]
    fn damaged_certificates_are_refused(edits in vec((any::<usize>(), any::<u8>()), 1..4), keep in any::<usize>()) {
        let mut evidence = GENUINE.evidence.clone();
        let der = evidence.endorsements.vek.as_ref().unwrap().der().to_vec();
        evidence.endorsements.vek = Some(Vek::Vcek(damage(der, &edits, keep)));
        let unchanged = evidence == GENUINE.evidence;
        prop_assert_eq!(examine(&evidence, &GENUINE.roots, &GENUINE.policy, NOW).is_ok(), unchanged);
    }

    #[test]
    fn damaged_bundles_never_panic(edits in vec((any::<usize>(), any::<u8>()), 1..4), keep in any::<usize>()) {
        let mut case = Case::new();
        case.policy = crate::support::policy_text("cryptographic.toml");
        let bytes = damage(GENUINE.bundle.clone(), &edits, keep);
        let verdict = snp_evidence::appraise(&bytes, &GENUINE.roots, &GENUINE.policy, &case.expected, NOW);
        // Blanks and the order of certificates carry no meaning, so that a changed text may still be the same bundle.
        let same = |bundle: Bundle| bundle == Bundle::parse(&GENUINE.bundle).unwrap();
        prop_assert!(verdict.is_err() || Bundle::parse(&bytes).is_ok_and(same));
    }
}
