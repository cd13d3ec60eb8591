use std::{fs, path::Path};

use snp_evidence::{Endorsements, Evidence, EvidenceFormat, ExaminedReport, Policy, TrustRoots, UnixTime};

use super::*;

const PINNED: Context =
    Context { scope: Scope::Connection, simulated: false, simulated_allowed: false, policy_given: true };

/// A real report, judged under the policy with another rule for the measurement.
fn examined(measurement: Option<&str>) -> Option<ExaminedReport> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("../shared/evidence/genoa-v3-vcek-tinfoil");
    let Ok(report) = fs::read(folder.join("report.bin")) else {
        println!("skipped: ../shared is absent");
        return None;
    };
    let off = "measurement = { off = \"cryptographic verdict only\" }";
    let policy = fs::read_to_string(root.join("conformance/policies/cryptographic.toml")).unwrap();
    let policy = policy.replace(off, measurement.unwrap_or(off));
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let evidence =
        Evidence { format: EvidenceFormat::AmdSevSnp, report, endorsements: Endorsements::default() };
    let evidence = collateral::complete(evidence, Some(&folder)).unwrap();
    let at = UnixTime::parse_rfc3339("2026-09-01T00:00:00Z").unwrap();
    Some(snp_evidence::examine(&evidence, &TrustRoots::amd(), &policy, at).unwrap())
}

fn said(report: &ExaminedReport, context: Context) -> (Verdict, u8) {
    let judgement = of(Ok::<_, &snp_evidence::Refusal>(&**report), context);
    (judgement.verdict, judgement.exit_code())
}

#[test]
fn trusted_is_said_of_nothing_less_than_hardware_software_and_channel() {
    let Some(unmeasured) = examined(None) else { return };
    let hex = hex::encode(unmeasured.measurement());
    let rule = format!("measurement = {{ allow = [\"{hex}\"], covers = \"userspace\" }}");
    let measured = examined(Some(&rule)).unwrap();
    for (report, scope, expected) in [
        (&measured, Scope::Connection, (Verdict::Trusted, 0)),
        (&measured, Scope::Bundle, (Verdict::Trusted, 0)),
        (&measured, Scope::Report, (Verdict::Genuine, 16)),
        (&unmeasured, Scope::Connection, (Verdict::Genuine, 16)),
        (&unmeasured, Scope::Bundle, (Verdict::Genuine, 16)),
        (&unmeasured, Scope::Report, (Verdict::Genuine, 16)),
    ] {
        assert_eq!(said(report, Context { scope, ..PINNED }), expected, "{scope:?}");
    }
    assert_eq!(said(&measured, Context { policy_given: false, ..PINNED }), (Verdict::Refused, 11));
}
