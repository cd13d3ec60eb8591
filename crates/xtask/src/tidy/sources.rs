//! The files themselves: sizes, and words that must not be written.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use crate::shell::output;

/// Most lines of a source file, generated code apart.
const MAX_LINES: usize = 400;
/// Ways to switch verification off, which no document, demo or test may show.
/// Spelled in halves, so that this file does not find itself.
const UNVERIFIED: &[(&str, &str)] = &[
    ("curl -", "k "),
    ("curl -s", "k "),
    ("--insec", "ure"),
    ("-plain", "text"),
    ("verify", "=False"),
    ("danger_accept", "_invalid_certs"),
    ("NODE_TLS_REJECT", "_UNAUTHORIZED"),
];
/// Where trust roots other than the caller's may be made: the simulator's users, the client's command, the crate
/// itself.
const ROOT_MAKERS: &[&str] =
    &["crates/cube-cli/", "crates/dev-stack/", "crates/e2e/", "crates/snp-evidence/", "crates/xtask/"];

/// Whose environment is a person's own: nothing of these is installed in a CVM.
const ASK_THE_ENVIRONMENT: &[&str] = &["crates/dev-stack/", "crates/e2e/", "crates/xtask/"];

/// Checks every file that git tracks or would track.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let names = String::from_utf8(output(&mut git)?)?;
    let mut findings = Vec::new();
    for name in names.lines().filter(|name| !name.contains("/generated/")) {
        // Bytes that are no text, and files just deleted, have no words to check.
        if let Ok(text) = fs::read_to_string(root.join(name)) {
            findings.extend(check_file(name, &text));
        }
    }
    Ok(findings)
}

fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let rust = Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let lines = text.lines().count();
    if rust && lines > MAX_LINES {
        findings.push(format!("{name} has {lines} lines; the limit is {MAX_LINES}"));
    }
    let unverified =
        UNVERIFIED.iter().map(|(a, b)| format!("{a}{b}")).filter(|word| text.contains(word.as_str()));
    findings.extend(unverified.map(|word| format!("{name} shows {word:?}, which turns verification off")));
    if rust && makes_roots(name, text) {
        findings.push(format!("{name} makes trust roots; services take them as an argument"));
    }
    if rust && reads_environment(name, text) {
        findings.push(format!("{name} reads the environment, where a host can put credentials"));
    }
    if rust && name.contains("src/") && !name.contains("tests") && delays_packets(text) {
        findings.push(format!("{name} dials or accepts TCP without set_nodelay(true)"));
    }
    findings
}

/// Small frames must not wait for acknowledgements; tests and tools may.
fn delays_packets(text: &str) -> bool {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let opens = [concat!("TcpStream::", "connect("), concat!("listener.", "accept()")];
    opens.iter().any(|word| code.contains(word)) && !code.contains("set_nodelay(true)")
}

/// What a host hands to a service manager, as SMBIOS strings or otherwise, ends up there.
fn reads_environment(name: &str, text: &str) -> bool {
    let exempt = ASK_THE_ENVIRONMENT.iter().any(|prefix| name.starts_with(prefix)) || name.contains("/tests");
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    !exempt
        && [concat!("env::", "var"), concat!("CREDENTIALS_", "DIRECTORY")]
            .iter()
            .any(|word| code.contains(word))
}

/// Rule 12: in service crates only `main` names AMD's roots, and nothing names others. Tests may.
fn makes_roots(name: &str, text: &str) -> bool {
    let exempt = ROOT_MAKERS.iter().any(|prefix| name.starts_with(prefix)) || name.contains("/tests");
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let main = name.ends_with("/main.rs");
    !exempt && (code.contains("TrustRoots::simulated") || (!main && code.contains("TrustRoots::amd")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(check_file("a.rs", &"\n".repeat(401)).len(), 1);
        assert!(check_file("a.rs", &"\n".repeat(400)).is_empty());
        assert!(check_file("a.md", &"\n".repeat(401)).is_empty());
    }

    #[test]
    fn a_way_around_verification_is_found() {
        let line = format!("curl -{} https://localhost", "k");
        assert_eq!(check_file("README.md", &line).len(), 1);
    }

    #[test]
    fn a_socket_that_delays_packets_is_found() {
        let dial = format!("TcpStream::{}(a)", "connect");
        assert!(delays_packets(&dial));
        assert!(!delays_packets(&format!("{dial}; s.set_nodelay(true)")));
    }

    #[test]
    fn a_word_from_the_environment_is_found() {
        for word in ["vars()", "var_os(name)", "var(name)"] {
            let code = format!("std::env::{word}");
            assert!(reads_environment("crates/mtls/src/lib.rs", &code));
            assert!(!reads_environment("crates/xtask/src/main.rs", &code));
            assert!(!reads_environment("crates/mtls/src/lib.rs", &format!("#[cfg(test)]\n{code}")));
        }
    }

    #[test]
    fn trust_roots_are_made_in_main_alone() {
        assert!(makes_roots("inference-gateway/src/server.rs", "TrustRoots::amd()"));
        assert!(!makes_roots("inference-gateway/src/main.rs", "TrustRoots::amd()"));
        assert!(makes_roots("inference-gateway/src/main.rs", "TrustRoots::simulated(pem)"));
        assert!(!makes_roots("crates/dev-stack/src/lib.rs", "TrustRoots::simulated(pem)"));
    }
}
