//! Every metric that a file of `deploy/observability` names is registered by a service, with the labels it asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Result;

/// What every metric begins with.
const PREFIXES: [&str; 2] = ["cube_", "gen_ai_"];
/// Labels that Prometheus itself adds.
const ADDED: [&str; 3] = ["instance", "job", "le"];

/// The metrics of `docs/metrics.md`, which is written from the code, and all of their labels.
struct Registered {
    metrics: BTreeMap<String, BTreeSet<String>>,
}

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let registered = Registered::read(&fs::read_to_string(root.join("docs/metrics.md"))?);
    let mut findings = Vec::new();
    for file in ["alerts.yaml", "dashboard.json"] {
        let name = format!("deploy/observability/{file}");
        let text = fs::read_to_string(root.join(&name))?;
        findings.extend(registered.problems(&text).into_iter().map(|problem| format!("{name}: {problem}")));
    }
    Ok(findings)
}

impl Registered {
    fn read(table: &str) -> Self {
        let row = |line: &str| {
            let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
            let [name, kind, labels, ..] = cells.as_slice() else { return None };
            let labels: BTreeSet<String> = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Some((name.trim_end_matches('`').to_owned(), *kind == "histogram", labels))
        };
        let mut metrics = BTreeMap::new();
        for (name, histogram, labels) in table.lines().filter_map(row) {
            let ends: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            for end in ends {
                metrics
                    .entry(format!("{name}{end}"))
                    .or_insert_with(BTreeSet::new)
                    .extend(Clone::clone(&labels));
            }
        }
        Self { metrics }
    }

    fn problems(&self, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (at, word) in words(text) {
            if self.metrics.values().any(|labels| labels.contains(word)) {
                continue;
            }
            let Some(labels) = self.metrics.get(word) else {
                problems.push(format!("no service has a metric {word}"));
                continue;
            };
            let rest = text.get(at + word.len()..).unwrap_or_default();
            let asked = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(inner, _)| inner);
            let unknown = asked.into_iter().flat_map(matched).filter(|label| !labels.contains(*label));
            problems.extend(
                unknown
                    .filter(|label| !ADDED.contains(label))
                    .map(|label| format!("{word} has no label {label}")),
            );
        }
        problems
    }
}

/// Each word that could be a metric, and where it begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut at = 0;
    text.split(move |c| !inside(c)).filter_map(move |word| {
        let begin = at;
        at += word.len() + 1;
        PREFIXES.iter().any(|prefix| word.starts_with(prefix)).then_some((begin, word))
    })
}

/// The labels that a selector matches on.
fn matched(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').filter_map(|part| part.split(['=', '!']).next()).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_service_registers_is_found() {
        let table = "| `cube_a_total` | counter | `outcome` | x |\n| `cube_b` | histogram | – | y |\n";
        let registered = Registered::read(table);
        assert!(registered.problems("rate(cube_a_total{outcome=\"x\", instance=~\"y\"}[5m])").is_empty());
        assert!(registered.problems("cube_b_bucket").is_empty());
        assert_eq!(
            registered.problems("cube_c > 1 and cube_b"),
            ["no service has a metric cube_c", "no service has a metric cube_b",]
        );
        assert_eq!(registered.problems("cube_a_total{code!=\"1\"}"), ["cube_a_total has no label code"]);
    }
}
