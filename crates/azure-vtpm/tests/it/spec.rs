//! `docs/spec/azure.md` speaks of the checks that there are.

use std::{fs, path::Path};

use azure_vtpm::{AzureEvidence, Nonce, appraise};
use snp_evidence::{CheckOutcome, Policy, TrustRoots, UnixTime};

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// Every verdict lists all checks, so that of no evidence does.
fn checks() -> Vec<CheckOutcome> {
    let policy = Policy::parse(page("conformance/policies/cryptographic.toml").as_bytes()).unwrap();
    let nonce = Nonce::new(&[7; 32]).unwrap();
    let verdict = appraise(&AzureEvidence::default(), &TrustRoots::amd(), &policy, &nonce, UnixTime(0));
    verdict.unwrap_err().checks().to_vec()
}

#[test]
fn every_check_is_explained_in_order_with_its_class() {
    let page = page("docs/spec/azure.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `azure.")?.split_once("` | "));
    let documented: Vec<_> =
        rows.map(|(id, row)| (format!("azure.{id}"), row.split(" | ").next().unwrap().to_owned())).collect();
    let class =
        |check: &CheckOutcome| serde_json::to_value(check.class).unwrap().as_str().unwrap().to_owned();
    let own: Vec<_> = checks()
        .iter()
        .filter(|check| check.id.starts_with("azure."))
        .map(|check| (check.id.to_owned(), class(check)))
        .collect();
    assert_eq!(documented, own);
}
