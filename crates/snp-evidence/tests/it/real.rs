//! Evidence captured on real machines, and its published forgeries, gets the verdict recorded beside it.

use std::fs;

use snp_evidence::{Refusal, RefusalClass, TrustRoots, UnixTime, Vek, examine};
use x509_parser::pem::Pem;

use crate::support::{REFERENCE, Recorded, at, captured, edited, load, policy, recorded};

fn judge(id: &str, policy_name: &str, now: UnixTime) -> Result<(), Refusal> {
    let evidence = load(&captured().unwrap().join(id));
    examine(&evidence, &TrustRoots::amd(), &policy(policy_name), now).map(drop)
}

/// Whether a verdict is the recorded one, by the class that decides the exit code. Where the certificate of the
/// signing key was never published, nothing can be said.
fn is_recorded(entry: &Recorded, verdict: &str, found: &Result<(), Refusal>) -> bool {
    let incomplete = entry.cryptographic == "incomplete";
    match found.as_ref().map_err(Refusal::class) {
        Ok(()) => verdict == "accept",
        Err(RefusalClass::Unavailable) => incomplete,
        Err(RefusalClass::Malformed | RefusalClass::Untrusted | RefusalClass::OutOfPolicy) => {
            verdict == "reject" && !incomplete
        }
        Err(RefusalClass::Stale | RefusalClass::Channel) => false,
    }
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
            if !is_recorded(&entry, verdict, &found) {
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
    let (crypto, strict) = ("cryptographic.toml", "strict.toml");
    for (id, policy, reason, class) in [
        ("neg-fake-root-baseline", crypto, "chain.offered_ca", RefusalClass::Untrusted),
        ("neg-fake-root-no-hwid", crypto, "chain.offered_ca", RefusalClass::Untrusted),
        ("neg-fake-root-policy-mbz", crypto, "report.structure", RefusalClass::Malformed),
        ("neg-genoa-signature-byte-flipped", crypto, "report.signature", RefusalClass::Untrusted),
        ("neg-genoa-tcb-mismatch-newer-vcek", crypto, "vek.tcb", RefusalClass::Untrusted),
        ("neg-milan-chip-mismatch", crypto, "vek.hwid", RefusalClass::Untrusted),
        ("neg-turin-wrong-generation-ca", crypto, "chain.offered_ca", RefusalClass::Untrusted),
        ("neg-vcek-signature-tampered", crypto, "chain.signatures", RefusalClass::Untrusted),
        ("neg-vlek-with-ask-instead-of-asvk", crypto, "chain.offered_ca", RefusalClass::Untrusted),
        ("genoa-v5-parse-only-tinfoil", crypto, "collateral.vek", RefusalClass::Unavailable),
        ("milan-v4-parse-only-gce", crypto, "collateral.vek", RefusalClass::Unavailable),
        ("milan-v2-vcek-debug-policy", strict, "guest_policy.debug", RefusalClass::OutOfPolicy),
        ("milan-v2-vcek-azure-vtpm", strict, "tcb.committed_is_current", RefusalClass::OutOfPolicy),
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
    assert_eq!((refusal.reason(), refusal.class()), ("report_version", RefusalClass::OutOfPolicy));
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

#[test]
fn a_vlek_without_its_issuer_is_unavailable() {
    let Some(folder) = captured() else { return };
    let mut evidence = load(&folder.join("milan-v3-vlek-aws-useast2"));
    evidence.endorsements.asvk = None;
    let now = at("2025-01-09T22:14:21Z");
    let refusal = examine(&evidence, &TrustRoots::amd(), &policy("cryptographic.toml"), now).unwrap_err();
    assert_eq!((refusal.reason(), refusal.class()), ("collateral.asvk", RefusalClass::Unavailable));
}

/// AMD's own lists: each under its product, in its time, and nowhere else.
#[test]
fn amds_revocation_lists_get_the_verdict_they_deserve() {
    const GOOD: Result<(), (&str, RefusalClass)> = Ok(());
    const FOREIGN: Result<(), (&str, RefusalClass)> = Err(("crl.signature", RefusalClass::Untrusted));
    const STALE: Result<(), (&str, RefusalClass)> = Err(("crl.dates", RefusalClass::Stale));
    let Some(folder) = captured() else { return };
    let (strictly, with_grace) = ("\"require\"", "{ stale_days = 7 }");
    for (id, list, rule, now, verdict) in [
        ("milan-v3-vcek-oak-rk", "milan-20260819.crl", strictly, "2026-09-01T00:00:00Z", GOOD),
        ("milan-v3-vcek-oak-rk", "genoa-20260819.crl", strictly, "2026-09-01T00:00:00Z", FOREIGN),
        ("genoa-v3-vcek-tinfoil", "genoa-20260819.crl", strictly, "2026-09-01T00:00:00Z", GOOD),
        ("genoa-v5-vcek-model-a0", "genoa-20260819.crl", strictly, "2026-09-01T00:00:00Z", GOOD),
        ("genoa-v3-vcek-tinfoil", "turin-20260819.crl", strictly, "2026-09-01T00:00:00Z", FOREIGN),
        ("turin-v5-vcek-oak", "turin-20260819.crl", strictly, "2026-09-01T00:00:00Z", GOOD),
        ("turin-v5-vcek-oak", "turin-20260819.crl", strictly, "2026-08-19T14:22:44Z", STALE),
        ("turin-v5-vcek-oak", "turin-20260819.crl", strictly, "2026-10-04T00:00:00Z", GOOD),
        ("turin-v5-vcek-oak", "turin-20260819.crl", strictly, "2026-10-04T00:00:01Z", STALE),
        ("turin-v5-vcek-oak", "turin-20260819.crl", with_grace, "2026-10-11T00:00:00Z", GOOD),
        ("turin-v5-vcek-oak", "turin-20260819.crl", with_grace, "2026-10-11T00:00:01Z", STALE),
        ("genoa-v2-vcek-oak", "genoa-20241023.crl", strictly, "2025-01-01T00:00:00Z", GOOD),
        ("genoa-v2-vcek-oak", "genoa-20241023.crl", strictly, "2026-09-01T00:00:00Z", STALE),
        ("milan-v3-vlek-aws-useast2", "milan-20260819.crl", strictly, "2025-01-09T22:14:21Z", STALE),
    ] {
        let mut evidence = load(&folder.join(id));
        evidence.endorsements.crl = Some(fs::read(folder.join("amd-ca").join(list)).unwrap());
        let policy = edited("cryptographic.toml", &[("crl", rule)]);
        let found = examine(&evidence, &TrustRoots::amd(), &policy, at(now));
        let found = found.map(drop).map_err(|refusal| (refusal.reason(), refusal.class()));
        assert_eq!(found, verdict, "{id} with {list} at {now}");
    }
}
