//! Every product, report version and kind of key: accepted under the simulator's root, and there alone.

use std::thread;

use snp_evidence::{Endorsements, Evidence, EvidenceFormat, TrustRoots, verify};
use snp_simulator::{ChipSpec, Guest, Product, ReportVersion, SecureProcessor, SigningKey, SimulatedRoot};

use crate::{
    support::policy,
    world::{NOW, challenge, evidence_of},
};

const VERSIONS: [ReportVersion; 4] =
    [ReportVersion::V2, ReportVersion::V3, ReportVersion::V4, ReportVersion::V5];

#[test]
fn every_product_version_and_key_is_accepted_under_its_own_root_alone() {
    // RSA keys take seconds to make: one root per product, at the same time.
    thread::scope(|scope| {
        for product in [Product::Milan, Product::Genoa, Product::Turin] {
            scope.spawn(move || sweep(product));
        }
    });
}

fn sweep(product: Product) {
    let root = SimulatedRoot::generate(product, NOW.0 - 60).unwrap();
    let own = TrustRoots::simulated(root.root_pem().as_bytes()).unwrap();
    let chip = ChipSpec::random(product).unwrap();
    for processor in [root.make_processor(&chip), root.make_vlek_processor(&chip, "CN=provider.example")] {
        for version in VERSIONS {
            judge(processor.as_ref().unwrap(), version, &own);
        }
    }
}

fn judge(processor: &SecureProcessor, version: ReportVersion, own: &TrustRoots) {
    let what = format!("{} {version:?} {:?}", processor.product(), processor.signing_key());
    let (policy, data) =
        (policy("cryptographic.toml"), challenge().report_data_alone(b"manifest", b"claims"));
    let guest = Guest { version, ..Guest::default() };
    let mut evidence = evidence_of(processor, processor.report(&guest, data.as_bytes()).unwrap());

    let report = verify(&evidence, own, &policy, &data, NOW).unwrap_or_else(|no| panic!("{what}: {no}"));
    assert_eq!(report.version(), version as u32, "{what}");
    assert_eq!(report.product().to_string(), processor.product().to_string(), "{what}");
    assert!(report.simulated(), "{what}");

    let under_amd =
        |evidence: &Evidence| verify(evidence, &TrustRoots::amd(), &policy, &data, NOW).unwrap_err().reason();
    assert_eq!(under_amd(&evidence), "evidence.format", "{what}");
    evidence.format = EvidenceFormat::AmdSevSnp;
    assert_eq!(under_amd(&evidence), "chain.offered_ca", "{what}");
    // Without CA certificates that give it away: a VLEK's issuer is then missing, a VCEK's is not AMD's.
    evidence.endorsements = Endorsements { vek: evidence.endorsements.vek.take(), ..Endorsements::default() };
    let reason = match processor.signing_key() {
        SigningKey::Vcek => "chain.signatures",
        SigningKey::Vlek => "collateral.asvk",
    };
    assert_eq!(under_amd(&evidence), reason, "{what}");
}
