//! The vectors of docs/spec, made by another program than this one.

use std::fs;

use serde::de::DeserializeOwned;
use serde_json::Value;
use snp_evidence::{
    Binder, BindingType, Bundle, ChannelRole, KeyManifest, Purpose, ReportData, Root, RuntimeClaims, leaf,
};

use crate::support::root;

fn vectors(name: &str) -> Value {
    serde_json::from_slice(&fs::read(root().join("docs/spec/vectors").join(name)).unwrap()).unwrap()
}

fn named<T: DeserializeOwned>(name: &Value) -> T {
    serde_json::from_value(name.clone()).unwrap()
}

fn bytes<const N: usize>(hex: &Value) -> [u8; N] {
    hex::decode(hex.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

fn binder(from: &Value) -> Binder {
    let exporter = (from["exporter"] != "").then(|| bytes(&from["exporter"]));
    Binder {
        kind: named::<BindingType>(&from["type"]),
        role: named::<ChannelRole>(&from["role"]),
        leaf_spki_sha256: bytes(&from["leaf_spki_sha256"]),
        exporter,
        listener: from["listener"].as_str().unwrap().to_owned(),
    }
}

#[test]
fn report_data_is_as_specified() {
    for case in vectors("report-data.json")["cases"].as_array().unwrap() {
        let own = leaf(&bytes(&case["nonce"]), &binder(&case["binder"]));
        assert_eq!(own, bytes(&case["leaf"]), "leaf: {}", case["name"]);
        let tree = &case["tree"];
        let path: Vec<_> = tree["path"].as_array().unwrap().iter().map(bytes).collect();
        let root = Root::from_path(&own, number(&tree["n"]), number(&tree["index"]), &path).unwrap();
        assert_eq!(*root.as_bytes(), bytes(&case["root"]), "root: {}", case["name"]);
        let [manifest, claims] = ["key_manifest", "runtime_claims"].map(|part| case[part].as_str().unwrap());
        let purpose = named::<Purpose>(&case["purpose"]);
        let data = ReportData::compute(purpose, &root, manifest.as_bytes(), claims.as_bytes());
        assert_eq!(*data.as_bytes(), bytes(&case["report_data"]), "report_data: {}", case["name"]);
    }
}

#[test]
fn the_valid_bundle_reads_and_writes_as_specified() {
    let valid = &vectors("bundle.json")["valid"];
    let text = valid["bundle"].as_str().unwrap();
    let bundle = Bundle::parse(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(bundle.to_bytes()).unwrap(), text);
    let [manifest, claims] = ["key_manifest", "runtime_claims"].map(|part| valid[part].as_str().unwrap());
    assert_eq!(KeyManifest::parse(manifest.as_bytes()).unwrap().to_bytes(), manifest.as_bytes());
    assert_eq!(RuntimeClaims::parse(claims.as_bytes()).unwrap().to_bytes(), claims.as_bytes());
    assert_eq!(bundle.key_manifest(), manifest.as_bytes());
    assert_eq!(bundle.runtime_claims(), claims.as_bytes());
}

#[test]
fn every_invalid_bundle_is_refused() {
    for invalid in vectors("bundle.json")["invalid"].as_array().unwrap() {
        let text = invalid["bundle"].as_str().unwrap();
        assert!(Bundle::parse(text.as_bytes()).is_err(), "{}", invalid["why"]);
    }
}
