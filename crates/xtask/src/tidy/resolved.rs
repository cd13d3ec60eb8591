//! The crates that a build really uses, on any target.

use std::{collections::BTreeSet, process::Command};

use anyhow::Result;

use crate::shell::{APART, apart, cargo, output};

/// Another TLS stack, another crypto provider.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];
/// Licences that Apache-2.0 software may be built with.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Crates under another licence, each with its reason in docs/dependencies.md.
const LICENCE_EXCEPTIONS: &[&str] = &["libfuzzer-sys", "option-ext", "webpki-roots"];

/// Findings about crates outside the workspace: bans and licences. The peers that we compare ourselves with bring what
/// they bring; their licences count all the same.
pub(super) fn check() -> Result<Vec<String>> {
    let mut findings = check_tree(cargo(TREE))?;
    for folder in APART {
        let found = check_tree(apart(folder, TREE))?;
        let peers = folder.ends_with("peers");
        let found = found.into_iter().filter(|finding| !(peers && finding.ends_with(BANNED_FINDING)));
        findings.extend(found.map(|finding| format!("{folder}: {finding}")));
    }
    Ok(findings)
}

const TREE: &[&str] =
    &["tree", "--locked", "--workspace", "--edges", "all", "--target", "all", "--prefix", "none"];
const BANNED_FINDING: &str = "is banned";

fn check_tree(mut tree: Command) -> Result<Vec<String>> {
    let text = String::from_utf8(output(tree.args(["--format", "{p}|{l}"]))?)?;
    Ok(crates(&text).into_iter().filter_map(|(name, licence)| finding(name, licence)).collect())
}

/// Name and licence from lines such as "name v1.2.3 (path)|licence", with " (*)" behind what was printed before.
/// Versions of one crate may differ in their licence.
fn crates(tree: &str) -> BTreeSet<(&str, &str)> {
    let lines = tree.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    lines.filter_map(|(package, licence)| Some((package.split(' ').next()?, licence))).collect()
}

fn finding(name: &str, licence: &str) -> Option<String> {
    if BANNED.contains(&name) {
        return Some(format!("crate {name} {BANNED_FINDING}"));
    }
    let known = LICENCE_EXCEPTIONS.contains(&name) || permits(licence);
    (!known).then(|| format!("{name} is under {licence:?}, which is not on the list"))
}

/// Whether an SPDX expression can be met from the list: every `AND` part by one of its `OR` parts.
fn permits(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    flat.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_crate_is_found() {
        assert_eq!(finding("ring", "ISC").as_deref(), Some("crate ring is banned"));
        assert_eq!(finding("rustls", "MIT"), None);
    }

    #[test]
    fn each_version_of_a_crate_is_looked_at() {
        let tree = "a v1.0.0|GPL-3.0\na v2.0.0 (/a)|MIT\na v2.0.0 (/a)|MIT (*)\n";
        assert_eq!(crates(tree).into_iter().collect::<Vec<_>>(), [("a", "GPL-3.0"), ("a", "MIT")]);
    }

    #[test]
    fn licence_expressions_are_read() {
        for good in ["MIT", "MIT OR Apache-2.0", "MIT/Apache-2.0", "(MIT OR X) AND Unicode-3.0"] {
            assert!(permits(good), "{good}");
        }
        for bad in ["GPL-3.0", "", "MIT AND GPL-3.0"] {
            assert!(!permits(bad), "{bad}");
        }
    }
}
