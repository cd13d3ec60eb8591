//! `docs/spec/verdict.md` and `policy.md` speak of what there is.

use std::fs;

use snp_evidence::CheckOutcome;

use crate::{support::root, world::Case};

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs/spec").join(name)).unwrap()
}

/// The cells of every table row whose first cell is one check's id.
fn rows(text: &str, cells: usize) -> Vec<Vec<String>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::to_owned).collect())
        .filter(|row: &Vec<_>| row.len() == cells)
        .collect()
}

fn class(check: &CheckOutcome) -> String {
    serde_json::to_value(check.class).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn every_check_is_explained_in_order_with_its_class_and_fix() {
    let checks = Case::new().judge().unwrap().checks().to_vec();
    let documented: Vec<_> = rows(&page("verdict.md"), 4)
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].clone(), row[3].clone()))
        .collect();
    let own: Vec<_> =
        checks.iter().map(|check| (check.id.to_owned(), class(check), check.fix.to_owned())).collect();
    assert_eq!(documented, own);
}

#[test]
fn every_class_is_explained() {
    let text = page("verdict.md");
    for check in Case::new().judge().unwrap().checks() {
        assert!(text.contains(&format!("\n| {} | ", class(check))), "{}", class(check));
    }
}

/// Rules are named by their checks; `product` has one rule for each product.
#[test]
fn every_rule_is_explained() {
    let text = page("policy.md");
    let all = Case::new().judge().unwrap().checks().to_vec();
    let policy: toml::Table = include_str!("demanding.toml").parse().unwrap();
    for check in all {
        let (section, key) = check.id.split_once('.').unwrap_or((check.id, ""));
        let is_rule = match policy.get(section) {
            Some(toml::Value::Table(table)) if !key.is_empty() => table.contains_key(key),
            Some(_) => key.is_empty(),
            None => false,
        };
        let named = [format!("`{}`", check.id), format!("`.{key}`"), format!("`{}.", check.id)];
        assert!(!is_rule || named.iter().any(|name| text.contains(name)), "{}", check.id);
    }
}
