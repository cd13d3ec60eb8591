//! `docs/attacks.md` names tests that exist, and reasons that something gives.

use std::{fs, path::Path};

use anyhow::Result;

use crate::conformance::known;

/// Where reasons, checks and exit codes are written down.
const GIVEN_BY: &[&str] = &[
    "proto/src/reason.rs",
    "crates/health-token/src/verify.rs",
    "docs/spec/verdict.md",
    "docs/spec/bundle.md",
    "crates/cube-cli/src/verdict.rs",
];

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string(root.join("docs/attacks.md"))?;
    let given: String =
        GIVEN_BY.iter().map(|file| fs::read_to_string(root.join(file))).collect::<Result<_, _>>()?;
    let source = |file: &str| fs::read_to_string(root.join(file)).ok();
    Ok(table.lines().filter_map(row).flat_map(|row| problems(&row, &given, source)).collect())
}

/// A line of a table: number, attack, what refuses it, tests.
struct Row<'t> {
    attack: &'t str,
    reasons: Vec<&'t str>,
    tests: Vec<&'t str>,
}

fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let [number, attack, refused, tests] = cells[..] else { return None };
    number.parse::<u8>().ok()?;
    Some(Row { attack, reasons: code(refused), tests: code(tests) })
}

/// What stands in backticks.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn problems(row: &Row<'_>, given: &str, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let unknown = row.reasons.iter().filter(|reason| !given.contains(**reason));
    let unknown = unknown.map(|reason| format!("docs/attacks.md: {:?}: nothing gives {reason}", row.attack));
    let missing = row.tests.iter().filter(|test| !is_test(test, &source));
    let missing = missing.map(|test| format!("docs/attacks.md: {:?}: there is no test {test}", row.attack));
    let untested = row.tests.is_empty().then(|| format!("docs/attacks.md: {:?} has no test", row.attack));
    unknown.chain(missing).chain(untested).collect()
}

fn is_test(test: &str, source: impl Fn(&str) -> Option<String>) -> bool {
    if let Some(run) = test.strip_prefix("cargo xtask conformance ") {
        return known().contains(&run);
    }
    let Some((file, name)) = test.split_once("::") else { return false };
    let (head, text) = (format!("fn {name}("), source(file).unwrap_or_default());
    let Some((before, _)) = text.split_once(&head) else { return false };
    // Its attribute is among the few lines above it.
    before.lines().rev().take(3).any(|line| line.contains("#[test]") || line.contains("#[tokio::test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "| 7 | a lie | `token.iat`, exit 3 | `a.rs::a_lie_is_refused` |";

    fn found(line: &str, source: &str) -> Vec<String> {
        problems(&row(line).unwrap(), "\"token.iat\"", |file| (file == "a.rs").then(|| source.to_owned()))
    }

    #[test]
    fn a_row_names_what_is_there() {
        let test = "#[tokio::test]\nasync fn a_lie_is_refused() {}";
        assert_eq!(found(LINE, test), Vec::<String>::new());
        assert_eq!(found(LINE, "fn a_lie_is_refused() {}").len(), 1, "no test");
        assert_eq!(found(&LINE.replace("a.rs", "b.rs"), test).len(), 1);
        assert_eq!(found(&LINE.replace("iat", "ait"), test).len(), 1);
        let run = "`cargo xtask conformance isolation`";
        assert_eq!(found(&LINE.replace("`a.rs::a_lie_is_refused`", run), test), Vec::<String>::new());
        assert_eq!(
            found(&LINE.replace("`a.rs::a_lie_is_refused`", &run.replace("iso", "oso")), test).len(),
            1
        );
        assert_eq!(found("| 7 | a lie | exit 3 | by hand |", test).len(), 1);
    }

    #[test]
    fn the_heads_of_tables_are_no_rows() {
        for line in ["| | attack | refused with | test |", "|---|---|---|---|", "text", ""] {
            assert!(row(line).is_none(), "{line}");
        }
    }
}
