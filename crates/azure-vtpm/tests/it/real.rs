//! Evidence captured on Azure gets the verdict recorded beside it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use azure_vtpm::{AzureEvidence, Nonce, Refusal, VerifiedQuote, appraise};
use serde_json::Value;
use snp_evidence::{Endorsements, Policy, TrustRoots, UnixTime, Vek};
use x509_parser::pem::Pem;

/// Every captured Azure SNP guest, if the evidence lies beside the workspace.
fn vectors() -> Vec<(PathBuf, Value)> {
    let folder = root().join("../shared/evidence");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: ../shared is absent");
        return Vec::new();
    };
    let folders = entries.map(|entry| entry.unwrap().path());
    let mut vectors: Vec<_> = folders
        .filter(|folder| folder.join("hcl_report.bin").exists())
        .map(|folder| {
            let notes = serde_json::from_slice(&fs::read(folder.join("notes.json")).unwrap()).unwrap();
            (folder, notes)
        })
        .collect();
    vectors.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(vectors.len() >= 5, "only {} vectors", vectors.len());
    vectors
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load(folder: &Path) -> AzureEvidence {
    let file = |name: &str| fs::read(folder.join(name)).ok();
    let pem =
        |name: &str| file(name).map(|pem| Pem::iter_from_buffer(&pem).next().unwrap().unwrap().contents);
    AzureEvidence {
        hcl_report: file("hcl_report.bin").unwrap(),
        runtime_data: file("runtime_data.json"),
        quote: file("tpm_quote.msg").unwrap(),
        signature: file("tpm_quote.sig").unwrap(),
        pcrs: file("pcrs.json"),
        endorsements: Endorsements {
            vek: file("vcek.der").map(Vek::Vcek),
            ask: pem("ask.pem"),
            ark: pem("ark.pem"),
            ..Endorsements::default()
        },
    }
}

fn judge(
    evidence: &AzureEvidence,
    notes: &Value,
    policy: &str,
    nonce: &[u8],
) -> Result<VerifiedQuote, Refusal> {
    let policy = fs::read(root().join("conformance/policies").join(policy)).unwrap();
    let at = UnixTime::parse_rfc3339(notes["verify_at"].as_str().unwrap()).unwrap();
    appraise(evidence, &TrustRoots::amd(), &Policy::parse(&policy).unwrap(), &Nonce::new(nonce).unwrap(), at)
}

fn quoted_nonce(notes: &Value) -> Vec<u8> {
    hex::decode(notes["azure"]["tpm_quote"]["extra_data"].as_str().unwrap()).unwrap()
}

#[test]
fn every_captured_guest_gets_its_recorded_verdict() {
    for (folder, notes) in vectors() {
        let (evidence, nonce) = (load(&folder), quoted_nonce(&notes));
        for (policy, key) in [("cryptographic.toml", "cryptographic"), ("strict.toml", "strict_policy")] {
            let found = judge(&evidence, &notes, policy, &nonce);
            let recorded = &notes["expected_verdict"][key];
            assert_eq!(found.is_ok(), recorded == "accept", "{} under {policy}: {found:?}", folder.display());
        }
        let verified = judge(&evidence, &notes, "cryptographic.toml", &nonce).unwrap();
        let vm = &notes["azure"]["hcl"]["vm_configuration"];
        assert_eq!(vm["vmUniqueId"], verified.runtime_data().vm_unique_id());
        assert_eq!(vm["secure-boot"], verified.runtime_data().secure_boot());
        assert_eq!(verified.pcrs().len(), 24);
    }
}

#[test]
fn a_quote_over_another_nonce_is_refused() {
    for (folder, notes) in vectors() {
        let nonce = [quoted_nonce(&notes), vec![0]].concat();
        let refusal = judge(&load(&folder), &notes, "cryptographic.toml", &nonce).unwrap_err();
        assert_eq!(refusal.reason(), "azure.nonce", "{}: {refusal}", folder.display());
    }
}

#[test]
fn a_quote_of_another_machine_is_refused() {
    let vectors = vectors();
    for ((folder, notes), (other, _)) in vectors.iter().zip(vectors.iter().cycle().skip(1)) {
        let (mut evidence, stranger) = (load(folder), load(other));
        let nonce = quoted_nonce(notes);
        (evidence.hcl_report, evidence.runtime_data) = (stranger.hcl_report, stranger.runtime_data);
        evidence.endorsements = stranger.endorsements;
        let refusal = judge(&evidence, notes, "cryptographic.toml", &nonce).unwrap_err();
        assert_eq!(refusal.reason(), "azure.quote_signature", "{}: {refusal}", folder.display());
    }
}

/// Some bits of every part, to bound the time.
#[test]
fn flipped_bits_of_captured_evidence_are_refused() {
    type Part = fn(&mut AzureEvidence) -> &mut Vec<u8>;
    let parts: [Part; 3] = [|e| &mut e.hcl_report, |e| &mut e.quote, |e| &mut e.signature];
    for (folder, notes) in vectors() {
        let (genuine, nonce) = (load(&folder), quoted_nonce(&notes));
        for part in parts {
            for bit in (0..8 * part(&mut genuine.clone()).len()).step_by(101) {
                let mut flipped = genuine.clone();
                part(&mut flipped)[bit / 8] ^= 1 << (bit % 8);
                let verdict = judge(&flipped, &notes, "cryptographic.toml", &nonce);
                assert!(verdict.is_err(), "{}: bit {bit} may be flipped", folder.display());
            }
        }
    }
}
