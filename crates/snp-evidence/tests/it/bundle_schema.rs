//! `docs/spec/bundle.schema.json` and the reader of bundles say the same.

use serde_json::{Value, json};
use snp_evidence::Bundle;

use crate::{
    schema::{Schema, places, with, without},
    world::Case,
};

fn reader_accepts(bundle: &Value) -> bool {
    Bundle::parse(bundle.to_string().as_bytes()).is_ok()
}

/// Between them they have every member.
fn samples() -> Vec<Value> {
    let with_exporter: Value = serde_json::from_slice(&Case::new().bundle()).unwrap();
    let mut with_path = with_exporter.clone();
    with_path["tree"] = json!({ "n": 3, "index": 2, "path": ["A".repeat(64)] });
    let mut spki = with_exporter.clone();
    spki["binding"].as_object_mut().unwrap().remove("label");
    spki["binding"]["type"] = json!("tls-spki");
    spki["endorsements"] = json!({ "asvk": "AA==", "crl": "AAA=" });
    vec![with_exporter, with_path, spki]
}

/// Words, encodings and numbers of all kinds, right somewhere and wrong elsewhere.
fn others() -> Vec<Value> {
    let words = [
        "fresh",
        "client",
        "hpke",
        "tls-exporter",
        "vlek",
        "vcek",
        "EXPORTER-Channel-Binding",
        "amd-sev-snp-report",
        "",
        " ",
        "AA",
        "AA==",
        "AB==",
        "AAA=",
        "AAB=",
        "AAAA",
    ];
    let mut others: Vec<Value> = words.iter().map(|word| json!(word)).collect();
    others.extend(["A", "B", "_"].iter().flat_map(|one| [json!(one.repeat(43)), json!(one.repeat(64))]));
    others.extend([
        json!(-1),
        json!(0),
        json!(1),
        json!(2),
        json!(4_294_967_295_u32),
        json!(4_294_967_296_u64),
    ]);
    others.extend([json!(true), json!(null), json!([]), json!([0]), json!({})]);
    others
}

/// Every value of the samples, left away and replaced; and members that nobody knows.
#[test]
fn both_judge_every_changed_bundle_alike() {
    let (schema, others) = (Schema::read("bundle.schema.json"), others());
    let (mut accepted, mut refused) = (0, 0);
    for bundle in samples() {
        assert!(schema.accepts(&bundle) && reader_accepts(&bundle), "{bundle:#}");
        let mut all = Vec::new();
        places(&bundle, "", &mut all);
        let removed = all.iter().skip(1).map(|place| without(&bundle, place));
        let replaced =
            all.iter().skip(1).flat_map(|place| others.iter().map(|other| with(&bundle, place, other)));
        let added = all.iter().filter_map(|place| {
            let mut changed = bundle.clone();
            changed.pointer_mut(place)?.as_object_mut()?.insert("unknown".to_owned(), json!("x"));
            Some(changed)
        });
        for changed in removed.chain(replaced).chain(added) {
            let verdict = reader_accepts(&changed);
            assert_eq!(schema.accepts(&changed), verdict, "{changed:#}");
            *(if verdict { &mut accepted } else { &mut refused }) += 1;
        }
    }
    assert!(accepted > 100 && refused > 1_500, "{accepted} accepted, {refused} refused");
}
