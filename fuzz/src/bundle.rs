//! An evidence bundle: read as it stands, and accepted only where it says what the verifier asked for. The report and its
//! certificates are made anew by each process, over whatever manifest and claims the fuzzer came upon.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use snp_evidence::Bundle;

use crate::{
    json::strict,
    manifest::{judge, lists_the_channel},
    seeds,
    world::{Case, challenge},
};

static GENUINE: LazyLock<Vec<u8>> = LazyLock::new(|| Case::new().bundle());

pub fn seed() {
    seeds::write([GENUINE.clone()]);
}

pub fn run(data: &[u8]) {
    let Ok(bundle) = Bundle::parse(data) else { return };
    let read = strict(data).expect("a name is there twice");
    assert_eq!(strict(&bundle.to_bytes()).unwrap(), read, "something was dropped or changed");
    assert!(judge(data, &challenge()).is_err() || says_the_same(&bundle), "nobody signed this");
    if judge(&vouched(&bundle), &challenge()).is_err() {
        return;
    }
    let (asked, binding) = (challenge(), read.get("binding").unwrap());
    let encoded = |bytes: [u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
    assert_eq!(read.text("purpose"), Some("fresh"));
    assert_eq!(read.get("challenge").unwrap().text("nonce"), Some(&*encoded(asked.nonce)));
    assert_eq!(binding.text("type"), Some("tls-exporter"));
    assert_eq!(binding.text("role"), Some("server"));
    assert_eq!(binding.text("listener"), Some("gateway/public"));
    assert_eq!(binding.text("leaf_spki_sha256"), Some(&*encoded(asked.binder.leaf_spki_sha256)));
    assert_eq!(read.get("tree").unwrap().whole("n"), Some(1));
    let manifest = strict(bundle.key_manifest()).expect("a name of the manifest is there twice");
    let claims = strict(bundle.runtime_claims()).expect("a name of the claims is there twice");
    assert!(lists_the_channel(&manifest));
    assert_eq!(claims.text("bootseed"), manifest.text("boot_seed"));
}

/// Other spellings of the JSON, and certificates that the verifier has by itself, are of no account.
fn says_the_same(bundle: &Bundle) -> bool {
    let genuine = Bundle::parse(&GENUINE).unwrap();
    let (report, own) = (bundle.evidence().report, genuine.evidence().report);
    let parts = |bundle: &Bundle| [bundle.key_manifest().to_vec(), bundle.runtime_claims().to_vec()];
    report == own && parts(bundle) == parts(&genuine)
}

/// The bundle with a report and certificates of this process.
fn vouched(bundle: &Bundle) -> Vec<u8> {
    let signed = challenge().report_data_alone(bundle.key_manifest(), bundle.runtime_claims());
    let report = Case::new().sign(&signed).report;
    let own: Value = serde_json::from_slice(&GENUINE).unwrap();
    let mut json: Value = serde_json::from_slice(&bundle.to_bytes()).unwrap();
    json["evidence"]["format"] = own["evidence"]["format"].clone();
    json["evidence"]["report"] = STANDARD.encode(report).into();
    json["endorsements"] = own["endorsements"].clone();
    json.to_string().into_bytes()
}
