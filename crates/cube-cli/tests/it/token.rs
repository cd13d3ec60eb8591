//! `cube token inspect` on the vectors of docs/spec/health-token.md.

use std::{fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use snp_evidence::{
    B64, B64Url, Binder, Bundle, Challenge, Endorsements, Evidence, EvidenceFormat, KeyManifest, KeyUse,
    ManifestKey, Purpose, TreePosition,
};
use tempfile::TempDir;

use crate::tool::{Run, cube, cube_reading};

/// What needs the lease or the connection.
const NOT_JUDGED: [&str; 4] = ["token.epoch", "token.cnf", "token.sub", "token.nonce"];

fn vectors() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/health-token.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn good() -> String {
    vectors()["cases"][0]["token"].as_str().unwrap().to_owned()
}

/// The manifest of the attestation-svc that signed the vectors.
fn manifest() -> Vec<u8> {
    let expected = &vectors()["expected"];
    let bytes = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    let spki = bytes(&expected["token_keys"][0]);
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki);
    let key = ManifestKey {
        r#use: KeyUse::Token,
        alg: "P-384".to_owned(),
        spki: B64(spki),
        sha256: B64Url(sha256.as_ref().try_into().unwrap()),
        owner: expected["issuer"].as_str().unwrap().to_owned(),
        listener: None,
        seq: 1,
    };
    let manifest = KeyManifest {
        v: 1,
        trust_domain: "demo.cube.internal".to_owned(),
        instance: "0123456789abcdef".to_owned(),
        boot_seed: B64Url(bytes(&expected["boot_seed"]).try_into().unwrap()),
        version: 1,
        prev: None,
        keys: vec![key],
    };
    manifest.to_bytes()
}

fn at() -> String {
    snp_evidence::UnixTime(vectors()["expected"]["now"].as_i64().unwrap()).to_string()
}

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write("manifest.json", &manifest());
        files
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn inspect(&self, token: &str, more: &[&str]) -> Run {
        let (token, at) = (self.write("token.jwt", token.as_bytes()), at());
        cube(&[&["token", "inspect", &token, "--at", &at], more].concat()).await
    }

    async fn held_against_manifest(&self, token: &str) -> Run {
        let manifest = self.folder.path().join("manifest.json");
        self.inspect(token, &["--json", "--manifest", manifest.to_str().unwrap()]).await
    }
}

#[tokio::test]
async fn every_vector_gets_its_verdict() {
    let files = Files::new();
    for case in vectors()["cases"].as_array().unwrap() {
        let run = files.held_against_manifest(case["token"].as_str().unwrap()).await;
        let (result, id) = (case["result"].as_str().unwrap(), &case["id"]);
        let told = run.json();
        if result == "accepted" || NOT_JUDGED.contains(&result) {
            assert_eq!((run.code, &told["verdict"]), (0, &"signed".into()), "{id}");
        } else {
            assert_eq!((run.code, &told["verdict"]), (10, &"refused".into()), "{id}");
            assert_eq!(told["reason"], result, "{id}");
        }
    }
}

#[tokio::test]
async fn without_a_manifest_it_is_read_and_said_to_be_unverified() {
    let files = Files::new();
    let token = good();
    let run = files.inspect(&token, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    for part in ["NOT VERIFIED", "svc/gateway", "now", "in 1 min 30 s", "epoch", "affirming"] {
        assert!(run.stdout.contains(part), "{part} in {}", run.stdout);
    }
    let (input, _) = token.rsplit_once('.').unwrap();
    let forged = files.inspect(&format!("{input}.{}", "A".repeat(128)), &["--json"]).await;
    assert_eq!((forged.code, forged.json()["verdict"].as_str()), (0, Some("unchecked")));
    let later = "2026-03-01T00:00:00Z";
    let path = files.write("token.jwt", token.as_bytes());
    let run = cube(&["token", "inspect", &path, "--at", later]).await;
    assert!(run.stdout.contains("EXPIRED"), "{}", run.stdout);
}

#[tokio::test]
async fn the_token_and_its_nonce_are_not_printed() {
    let files = Files::new();
    let token = good();
    let nonce = vectors()["expected"]["nonce"].as_str().unwrap().to_owned();
    for more in [&[][..], &["--json"]] {
        let run = files.inspect(&token, more).await;
        let printed = run.stdout + &run.stderr;
        for secret in token.split('.').chain([nonce.as_str(), "eat_nonce"]) {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}

#[tokio::test]
async fn a_bundle_names_the_manifest_and_stdin_the_token() {
    let files = Files::new();
    let evidence = Evidence {
        format: EvidenceFormat::SimulatedAmdSevSnp,
        report: vec![],
        endorsements: Endorsements::default(),
    };
    let single = TreePosition::single();
    let challenge = Challenge { purpose: Purpose::Fresh, nonce: [1; 32], binder: Binder::none() };
    let bundle = Bundle::new(&challenge, single, &evidence, &manifest(), b"{}");
    let bundle = files.write("bundle.json", &bundle.to_bytes());
    let run =
        cube_reading(&["token", "inspect", "-", "--bundle", &bundle, "--at", &at()], &(good() + "\n")).await;
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("genuine is not judged here"), "{}", run.stdout);
    let run = cube_reading(&["token", "inspect", "-", "--bundle", &bundle], &good()).await;
    assert!(run.code == 10 && run.stdout.contains("REFUSED by token.exp"), "{}", run.stdout);
}

#[tokio::test]
async fn what_is_no_token_or_no_manifest_is_said_so() {
    let files = Files::new();
    let run = files.inspect("no token", &[]).await;
    assert!(run.code == 10 && run.stdout.contains("token.form"), "{}", run.stdout);
    let other = files.write("other.json", b"{}");
    let run = files.inspect(&good(), &["--manifest", &other]).await;
    assert!(run.code == 2 && run.stderr.contains("other.json"), "{}", run.stderr);
    assert_eq!(files.inspect(&"A".repeat(9000), &[]).await.code, 2);
    assert_eq!(cube(&["token", "inspect", "/nowhere"]).await.code, 2);
}
