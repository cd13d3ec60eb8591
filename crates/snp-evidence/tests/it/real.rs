//! Evidence captured on real machines, and its published forgeries, gets the verdict recorded beside it.

use std::fs;

use serde_json::Value;
use snp_evidence::{Refusal, RefusalClass, TrustRoots, UnixTime, Vek, examine};
use x509_parser::pem::Pem;

use crate::support::{at, captured, edited, load, policy};

/// The day the evidence was gathered; the clock for what could not be judged on any day.
const REFERENCE: &str = "2026-11-23T00:00:00Z";

struct Recorded {
    id: String,
    cryptographic: String,
    strict: String,
    strict_today: String,
    verify_at: UnixTime,
}

fn recorded() -> Option<Vec<Recorded>> {
    let folder = captured()?;
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let reports =
        index["vectors"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "sev-snp-report");
    let read = |entry: &Value| {
        let id = entry["id"].as_str().unwrap().to_owned();
        let notes: Value =
            serde_json::from_slice(&fs::read(folder.join(&id).join("notes.json")).unwrap()).unwrap();
        let verdict = |key: &str| notes["expected_verdict"][key].as_str().unwrap_or("reject").to_owned();
        Recorded {
            cryptographic: verdict("cryptographic"),
            strict: verdict("strict_policy"),
            strict_today: verdict("strict_policy_at_2026_11_23"),
            verify_at: at(notes["verify_at"].as_str().unwrap_or(REFERENCE)),
            id,
        }
    };
    Some(reports.map(read).collect())
}

fn judge(id: &str, policy_name: &str, now: UnixTime) -> Result<(), Refusal> {
    let evidence = load(&captured().unwrap().join(id));
    examine(&evidence, &TrustRoots::amd(), &policy(policy_name), now).map(drop)
}

#[test]
fn every_captured_report_gets_its_recorded_verdict() {
    let Some(all) = recorded() else { return };
    assert!(all.len() >= 30, "only {} reports", all.len());
    let mut wrong = Vec::new();
    for entry in all {
        let Recorded { id, verify_at, .. } = &entry;
        for (policy, now, verdict) in [
            ("cryptographic.toml", *verify_at, &entry.cryptographic),
            ("strict.toml", *verify_at, &entry.strict),
            ("strict.toml", at(REFERENCE), &entry.strict_today),
        ] {
            let found = judge(id, policy, now);
            println!(
                "{id} {policy} {now}: {}",
                found.as_ref().map_or_else(ToString::to_string, |()| "accept".into())
            );
            if found.is_ok() != (verdict == "accept") {
                wrong.push(format!("{id} under {policy} at {now}: recorded {verdict}, got {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refusals_name_the_check_that_caught_the_fault() {
    if captured().is_none() {
        return;
    }
    for (id, policy, reason, class) in [
        ("neg-fake-root-baseline", "cryptographic.toml", "chain.offered_ca", RefusalClass::Evidence),
        ("neg-fake-root-no-hwid", "cryptographic.toml", "chain.offered_ca", RefusalClass::Evidence),
        ("neg-fake-root-policy-mbz", "cryptographic.toml", "report.structure", RefusalClass::Evidence),
        (
            "neg-genoa-signature-byte-flipped",
            "cryptographic.toml",
            "report.signature",
            RefusalClass::Evidence,
        ),
        ("neg-genoa-tcb-mismatch-newer-vcek", "cryptographic.toml", "vek.tcb", RefusalClass::Evidence),
        ("neg-milan-chip-mismatch", "cryptographic.toml", "vek.hwid", RefusalClass::Evidence),
        ("neg-turin-wrong-generation-ca", "cryptographic.toml", "chain.offered_ca", RefusalClass::Evidence),
        ("neg-vcek-signature-tampered", "cryptographic.toml", "chain.signatures", RefusalClass::Evidence),
        (
            "neg-vlek-with-ask-instead-of-asvk",
            "cryptographic.toml",
            "collateral.asvk",
            RefusalClass::Collateral,
        ),
        ("genoa-v5-parse-only-tinfoil", "cryptographic.toml", "collateral.vek", RefusalClass::Collateral),
        ("milan-v4-parse-only-gce", "cryptographic.toml", "collateral.vek", RefusalClass::Collateral),
        ("milan-v2-vcek-debug-policy", "strict.toml", "guest_policy.debug", RefusalClass::Policy),
        ("milan-v2-vcek-azure-vtpm", "strict.toml", "tcb.committed_is_current", RefusalClass::Policy),
    ] {
        let refusal = judge(id, policy, at("2025-01-09T22:14:21Z")).unwrap_err();
        let refusal = if refusal.reason() == "chain.dates" {
            judge(id, policy, at("2026-09-01T00:00:00Z")).unwrap_err()
        } else {
            refusal
        };
        assert_eq!((refusal.reason(), refusal.class()), (reason, class), "{id}: {refusal}");
    }
}

#[test]
fn an_expired_vlek_is_refused_by_its_date() {
    if captured().is_none() {
        return;
    }
    let refusal = judge("milan-v3-vlek-aws-useast2", "cryptographic.toml", at(REFERENCE)).unwrap_err();
    assert_eq!(refusal.reason(), "chain.dates");
}

#[test]
fn an_asvk_offered_as_ask_is_refused() {
    let Some(folder) = captured() else { return };
    let mut evidence = load(&folder.join("milan-v3-vlek-aws-useast2"));
    evidence.endorsements.ask = evidence.endorsements.asvk.clone();
    let now = at("2025-01-09T22:14:21Z");
    let refusal = examine(&evidence, &TrustRoots::amd(), &policy("cryptographic.toml"), now).unwrap_err();
    assert_eq!(refusal.reason(), "chain.offered_ca");
}

#[test]
fn a_vlek_passed_off_as_vcek_is_refused() {
    let Some(folder) = captured() else { return };
    let mut evidence = load(&folder.join("milan-v3-vlek-aws-useast2"));
    evidence.endorsements.vek = evidence.endorsements.vek.map(|vek| Vek::Vcek(vek.der().to_vec()));
    let now = at("2025-01-09T22:14:21Z");
    let refusal = examine(&evidence, &TrustRoots::amd(), &policy("cryptographic.toml"), now).unwrap_err();
    assert_eq!(refusal.reason(), "report.signing_key");
}

#[test]
fn both_reissued_certificates_of_one_key_are_good() {
    let Some(folder) = captured() else { return };
    let folder = folder.join("milan-v2-vcek-two-certs");
    let mut evidence = load(&folder);
    evidence.endorsements.vek = Some(Vek::Vcek(fs::read(folder.join("vcek-alt.der")).unwrap()));
    let now = at("2026-09-01T00:00:00Z");
    examine(&evidence, &TrustRoots::amd(), &policy("cryptographic.toml"), now).unwrap();
}

#[test]
fn version_2_needs_to_be_named_by_the_policy() {
    let Some(folder) = captured() else { return };
    let evidence = load(&folder.join("milan-v2-vcek-aci"));
    let policy = edited("cryptographic.toml", &[("report_version", "{ allow = [3, 4, 5] }")]);
    let refusal = examine(&evidence, &TrustRoots::amd(), &policy, at("2026-09-01T00:00:00Z")).unwrap_err();
    assert_eq!((refusal.reason(), refusal.class()), ("report_version", RefusalClass::Policy));
}

#[test]
fn the_asvk_of_another_product_is_refused() {
    let Some(folder) = captured() else { return };
    let mut evidence = load(&folder.join("milan-v3-vlek-aws-useast2"));
    let pem = fs::read(folder.join("amd-ca/genoa-asvk.pem")).unwrap();
    evidence.endorsements.asvk = Some(Pem::iter_from_buffer(&pem).next().unwrap().unwrap().contents);
    let now = at("2025-01-09T22:14:21Z");
    let refusal = examine(&evidence, &TrustRoots::amd(), &policy("cryptographic.toml"), now).unwrap_err();
    assert_eq!(refusal.reason(), "chain.offered_ca");
}
