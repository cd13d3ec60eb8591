//! `cube policy import --from cube`, on files of the shape that Cube AI has.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use snp_evidence::{Policy, Setting, Statement};

use crate::tool::{Run, cube};

/// Everything that such a file can say, closed.
fn complete() -> Value {
    let bytes = |value: u8, length: usize| STANDARD.encode(vec![value; length]);
    json!({
        "pcr_values": { "sha256": { "0": "00", "7": "11" } },
        "policy": {
            "chip_id": bytes(1, 64),
            "family_id": bytes(2, 16),
            "image_id": bytes(3, 16),
            "host_data": bytes(4, 32),
            "measurement": bytes(5, 48),
            "report_id": bytes(6, 32),
            "report_id_ma": bytes(0xFF, 32),
            "minimum_build": 8,
            "minimum_version": "1.55",
            "minimum_tcb": 0xD50E_0000_0000_0003_u64,
            "minimum_launch_tcb": 0xD50E_0000_0000_0003_u64.to_string(),
            "minimum_guest_svn": 7,
            "permit_provisional_firmware": false,
            "policy": 0x0112_011F_u64,
            "platform_info": "32",
            "product": { "name": 2 },
            "require_author_key": true,
            "require_id_block": true,
            "trusted_id_key_hashes": [bytes(8, 48)],
            "trusted_author_key_hashes": [bytes(9, 48)],
            "vmpl": 2,
        },
        "root_of_trust": { "check_crl": true, "disallow_network": true, "product": "Genoa", "product_line": "Genoa" },
    })
}

async fn import_text(text: &[u8], more: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("attestation_policy.json");
    fs::write(&file, text).unwrap();
    cube(&[&["policy", "import", "--from", "cube", file.to_str().unwrap()], more].concat()).await
}

async fn import(file: &Value, more: &[&str]) -> Run {
    import_text(&serde_json::to_vec(file).unwrap(), more).await
}

fn statements(run: &Run) -> Vec<Statement> {
    let policy = Policy::parse(run.stdout.as_bytes());
    policy.unwrap_or_else(|errors| panic!("{errors}\n{}{}", run.stdout, run.stderr)).statements()
}

fn demand(told: &[Statement], id: &str) -> String {
    told.iter().find(|rule| rule.id == id).unwrap().demand.clone()
}

fn without(key: &str) -> Value {
    let mut file = complete();
    file["policy"].as_object_mut().unwrap().remove(key);
    file
}

#[tokio::test]
async fn a_complete_file_is_carried_over() {
    let run = import(&complete(), &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("left open") && !run.stderr.contains("filled in"), "{}", run.stderr);
    let told = statements(&run);
    for (id, expected) in [
        ("product.genoa", format!("by VCEK, chip {}", "01".repeat(64))),
        ("product.milan", "no milan, the list is empty".to_owned()),
        ("family_id", "02".repeat(16)),
        ("image_id", "03".repeat(16)),
        ("host_data", "04".repeat(32)),
        ("report_id", "06".repeat(32)),
        ("report_id_ma", "none, all ones".to_owned()),
        ("firmware_version", "at least 1.55.8".to_owned()),
        ("tcb.current", "genoa: at least bootloader 3 tee 0 snp 14 microcode 213".to_owned()),
        ("tcb.launch", "genoa: at least bootloader 3 tee 0 snp 14 microcode 213".to_owned()),
        ("tcb.committed_is_current", "require".to_owned()),
        ("guest_svn", "at least 7".to_owned()),
        ("guest_policy.debug", "forbid".to_owned()),
        ("guest_policy.smt", "forbid".to_owned()),
        ("guest_policy.single_socket", "require".to_owned()),
        ("guest_policy.abi", "at least 1.31".to_owned()),
        ("guest_policy.features", "set: ciphertext_hiding; clear: cxl".to_owned()),
        ("platform_info", "set: alias_check_complete; clear: smt".to_owned()),
        ("id_key", "08".repeat(48)),
        ("author_key", "09".repeat(48)),
        ("vmpl", "2".to_owned()),
        ("crl", "a list that is current".to_owned()),
    ] {
        assert_eq!(demand(&told, id), expected, "{id}");
    }
    assert!(demand(&told, "measurement").contains("kernel only"));
    for words in ["pcr_values.sha256 (0, 7)", "root_of_trust.disallow_network"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
}

#[tokio::test]
async fn both_spellings_mean_the_same() {
    let camel = serde_json::to_string(&complete()).unwrap();
    let camel = camel.split('"').map(|word| {
        let plain = !word.contains(' ') && !word.starts_with('_');
        let mut parts = word.split('_').map(str::to_owned);
        let first = parts.next().unwrap();
        if plain {
            parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
        } else {
            word.to_owned()
        }
    });
    let run = import_text(camel.collect::<Vec<_>>().join("\"").as_bytes(), &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let (snake, camel) = (import(&complete(), &[]).await, statements(&run));
    assert_eq!(statements(&snake), camel);
}

/// A key left away was a check left out: it is named, and it is never off unless the user says so.
#[tokio::test]
async fn each_open_check_is_named_and_strict() {
    for (key, ids) in [
        ("chip_id", &["product.genoa"] as &[&str]),
        ("family_id", &["family_id"]),
        ("image_id", &["image_id"]),
        ("host_data", &["host_data"]),
        ("measurement", &["measurement"]),
        ("report_id", &["report_id"]),
        ("report_id_ma", &["report_id_ma"]),
        ("minimum_guest_svn", &["guest_svn"]),
        ("minimum_tcb", &["tcb.reported", "tcb.committed", "tcb.current"]),
        ("minimum_launch_tcb", &["tcb.launch"]),
        (
            "policy",
            &["guest_policy.debug", "guest_policy.migration_agent", "guest_policy.smt", "guest_policy.abi"],
        ),
        ("platform_info", &["platform_info"]),
        ("require_author_key", &["author_key"]),
        ("vmpl", &["vmpl"]),
    ] {
        let run = import(&without(key), &[]).await;
        assert_eq!(run.code, i32::from(key == "measurement"), "{key}: {}", run.stderr);
        let told = statements(&run);
        for id in ids {
            assert!(run.stderr.contains(&format!("\n  {id}: ")), "{id}: {}", run.stderr);
            assert!(told.iter().any(|rule| rule.id == *id && rule.setting != Setting::Off), "{id}");
        }
        let kept = import(&without(key), &["--keep-open", &ids.join(",")]).await;
        let told = statements(&kept);
        for id in ids {
            let rule = told.iter().find(|rule| rule.id == *id).unwrap();
            assert!(rule.reason.as_ref().unwrap().starts_with("was open in "), "{rule:?}");
        }
    }
}

#[tokio::test]
async fn empty_values_are_open_too() {
    let mut file = complete();
    for (key, value) in [("host_data", json!("")), ("vmpl", Value::Null), ("minimum_guest_svn", json!(0))] {
        file["policy"][key] = value;
    }
    let run = import(&file, &[]).await;
    assert!(["host_data", "vmpl", "guest_svn"].iter().all(|id| run.stderr.contains(&format!("\n  {id}: "))));
    let mut file = complete();
    file["root_of_trust"]["check_crl"] = json!(false);
    assert!(import(&file, &[]).await.stderr.contains("\n  crl: check_crl is not set"));
}

#[tokio::test]
async fn what_needs_a_decision_is_written_and_is_no_success() {
    let mut provisional = complete();
    provisional["policy"]["permit_provisional_firmware"] = json!(true);
    let mut milan = without("chip_id");
    milan["policy"]["product"]["name"] = json!("SEV_PRODUCT_MILAN");
    milan["root_of_trust"] = json!({ "check_crl": true });
    let mut nobody = without("product");
    nobody["root_of_trust"] = json!({});
    for (file, words) in [
        (provisional, "provisional firmware was permitted"),
        (milan, "any Milan was accepted"),
        (nobody, "no product is named"),
        (without("measurement"), "no measurement"),
    ] {
        let run = import(&file, &[]).await;
        assert_eq!(run.code, 1, "{words}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("decide before you rely on it:\n  {words}")), "{}", run.stderr);
        statements(&run);
    }
}

#[tokio::test]
async fn unknown_keys_are_named() {
    let mut file = complete();
    file["policy"]["minimum_tbc"] = json!(1);
    file["colour"] = json!("blue");
    file["policy"]["report_data"] = json!(STANDARD.encode([1; 64]));
    let run = import(&file, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    for key in ["policy.minimum_tbc", "colour", "policy.report_data"] {
        assert!(run.stderr.contains(&format!("\n  {key}: ")), "{key}: {}", run.stderr);
    }
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused_whole() {
    let with = |key: &str, value: Value| {
        let mut file = complete();
        file["policy"][key] = value;
        serde_json::to_vec(&file).unwrap()
    };
    let injected = json!("1.55\" }\ngpu_evidence = { off = \"x\" }\nx = { y = \"");
    for (file, words) in [
        (b"\xd9\x01\xf5\xa1".to_vec(), "CoRIM"),
        (b"[]".to_vec(), "not a JSON object"),
        (br#"{"policy":{"vmpl":1,"vmpl":2}}"#.to_vec(), "\"vmpl\" is stated twice"),
        (br#"{"policy":{"chip_id":"","chipId":""}}"#.to_vec(), "policy.chip_id: stated in both spellings"),
        (br#"{"policy":{"headerPolicy":{}}}"#.to_vec(), "headerPolicy is for Intel TDX"),
        (br#"{"policy":{"td_quote_body_policy":{}}}"#.to_vec(), "td_quote_body_policy is for Intel TDX"),
        (with("measurement", json!(STANDARD.encode([5; 32]))), "policy.measurement: 32 bytes, need 48"),
        (with("host_data", json!("zz!")), "policy.host_data: need base64"),
        (with("minimum_version", injected), "policy.minimum_version: need a version"),
        (with("minimum_build", json!(300)), "policy.minimum_version: need a version"),
        (with("minimum_tcb", json!(0x0100_0000_u64)), "policy.minimum_tcb: levels that this product"),
        (with("minimum_guest_svn", json!(1_u64 << 40)), "policy.minimum_guest_svn: need 32 bits"),
        (with("minimum_guest_svn", json!(-1)), "policy.minimum_guest_svn: need a whole number"),
        (with("policy", json!(1)), "policy.policy: no guest policy"),
        (with("platform_info", json!(1 << 20)), "policy.platform_info: bits 8"),
        (with("vmpl", json!(4)), "policy.vmpl: need 0 to 3"),
        (with("require_id_block", json!("yes")), "policy.require_id_block: need true or false"),
        (with("trusted_id_key_hashes", json!([STANDARD.encode([0; 48])])), "zero is no key's"),
        (with("product", json!({ "name": 1 })), "product: genoa in one place"),
        (with("product", json!({ "name": 9 })), "product \"9\": unknown product"),
    ] {
        let run = import_text(&file, &[]).await;
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{words}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    let run = import(&complete(), &["--keep-open", "host_data,debug"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    for name in ["host_data", "debug"] {
        assert!(
            run.stderr.contains(&format!("--keep-open {name}: the file does not leave that open")),
            "{}",
            run.stderr
        );
    }
}
