//! Evidence of Azure guests, as collected there.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    shared,
    tool::{Run, cube},
};

/// Folder and notes of every captured guest.
fn vectors() -> Vec<(PathBuf, Value)> {
    let entries = shared::evidence("").map(|evidence| std::fs::read_dir(evidence).unwrap());
    let folders = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("hcl_report.bin").exists());
    let notes = |folder: &Path| std::fs::read(folder.join("notes.json")).unwrap();
    folders.map(|folder| (folder.clone(), serde_json::from_slice(&notes(&folder)).unwrap())).collect()
}

fn nonce(notes: &Value) -> String {
    notes["azure"]["tpm_quote"]["extra_data"].as_str().unwrap().to_owned()
}

async fn verify(folder: &Path, policy: &str, more: &[&str]) -> Run {
    let (folder, policy) = (folder.to_str().unwrap(), shared::policy(policy));
    let at = ["--at", "2026-09-01T00:00:00Z", "--json", "--policy", &policy];
    cube(&[&["verify", "--azure", folder], &at[..], more].concat()).await
}

/// A copy of the folder with one file edited.
fn edited(folder: &Path, name: &str, edit: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let from = entry.unwrap();
        std::fs::write(copy.path().join(from.file_name()), std::fs::read(from.path()).unwrap()).unwrap();
    }
    let path = copy.path().join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    edit(&mut bytes);
    std::fs::write(path, bytes).unwrap();
    copy
}

#[tokio::test]
async fn a_captured_guest_is_genuine_at_most() {
    for (folder, notes) in vectors() {
        let run = verify(&folder, "cryptographic.toml", &["--nonce", &nonce(&notes)]).await;
        assert_eq!((run.code, run.verdict().as_str()), (16, "genuine"), "{}{}", run.stdout, run.stderr);
        assert_eq!(run.json()["scope"], "quote");
        let passed = |id: &str| {
            run.json()["checks"].as_array().unwrap().iter().any(|c| c["id"] == id && c["result"] == "pass")
        };
        assert!(
            ["azure.hcl", "report.signature", "report_data", "azure.nonce", "azure.pcr_values"]
                .iter()
                .all(|id| passed(id))
        );
        let run = verify(&folder, "strict.toml", &["--nonce", &nonce(&notes)]).await;
        let accepted = notes["expected_verdict"]["strict_policy"] == "accept";
        assert_eq!(run.code, if accepted { 16 } else { 11 }, "{}", run.stdout);
    }
}

#[tokio::test]
async fn without_a_nonce_nothing_is_judged() {
    for (folder, _) in vectors().into_iter().take(1) {
        for (more, words) in [
            (&[] as &[&str], "--azure needs --nonce"),
            (&["--nonce", ""], "nonce is 0 bytes"),
            (&["--nonce", "zz"], "need hexadecimal"),
            (&["--nonce", &"00".repeat(65)], "nonce is 65 bytes"),
        ] {
            let run = verify(&folder, "cryptographic.toml", more).await;
            assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{more:?}");
            assert!(run.stderr.contains(words), "{}", run.stderr);
        }
    }
}

#[tokio::test]
async fn damaged_and_replayed_evidence_is_refused() {
    for (folder, notes) in vectors().into_iter().take(1) {
        let other = ["--nonce", "00112233445566778899aabbccddeeff"];
        let run = verify(&folder, "cryptographic.toml", &other).await;
        assert_eq!((run.code, run.reason().as_str()), (13, "azure.nonce"), "{}", run.stdout);
        for (name, reason) in [
            ("hcl_report.bin", "azure.hcl"),
            ("runtime_data.json", "azure.runtime_data_copy"),
            ("tpm_quote.msg", "azure.quote_type"),
            ("tpm_quote.sig", "azure.quote_signature"),
            ("pcrs.json", "azure.pcr_values"),
        ] {
            let copy = edited(&folder, name, |bytes| bytes[0] ^= 1);
            let run = verify(copy.path(), "cryptographic.toml", &["--nonce", &nonce(&notes)]).await;
            assert_eq!((run.code, run.reason().as_str()), (10, reason), "{name}: {}", run.stdout);
        }
    }
}

#[tokio::test]
async fn a_missing_file_is_named() {
    for (folder, notes) in vectors().into_iter().take(1) {
        let empty = tempfile::tempdir().unwrap();
        let nonce = nonce(&notes);
        let run = verify(empty.path(), "cryptographic.toml", &["--nonce", &nonce]).await;
        assert_eq!(run.code, 2);
        assert!(run.stderr.contains("hcl_report.bin"), "{}", run.stderr);
        let certs = ["--nonce", &nonce, "--certs", empty.path().to_str().unwrap()];
        let run = verify(&folder, "cryptographic.toml", &certs).await;
        assert_eq!((run.code, run.reason().as_str()), (12, "collateral.vek"), "{}", run.stdout);
    }
}

#[tokio::test]
async fn a_paravisors_report_is_told_from_a_bare_one() {
    for (folder, _) in vectors().into_iter().take(1) {
        let report = folder.join("hcl_report.bin");
        let run =
            cube(&["verify", "--report", report.to_str().unwrap(), "--certs", folder.to_str().unwrap()])
                .await;
        assert_eq!(run.code, 2);
        assert!(run.stderr.contains("--azure DIR --nonce HEX"), "{}", run.stderr);
    }
}

#[tokio::test]
async fn the_table_says_what_is_not_proven() {
    for (folder, notes) in vectors().into_iter().take(1) {
        let folder = folder.to_str().unwrap();
        let args = ["verify", "--azure", folder, "--nonce", &nonce(&notes), "--at", "2026-09-01T00:00:00Z"];
        let run = cube(&args).await;
        assert_eq!(run.code, 11, "{}", run.stdout);
        assert!(run.stdout.contains("the measurement is the paravisor's"), "{}", run.stdout);
        let run = cube(&[&args[..], &["--summary"]].concat()).await;
        assert!(run.stdout.lines().count() <= 12, "{}", run.stdout);
    }
}
