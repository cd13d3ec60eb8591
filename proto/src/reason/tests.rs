use std::{collections::BTreeSet, fs, path::Path};

use super::*;

#[test]
fn every_reason_says_what_it_means_and_what_to_do() {
    for reason in ALL {
        for text in [reason.meaning, reason.mend] {
            assert!(text.ends_with('.') && !text.contains("  "), "{}: {text:?}", reason.name);
        }
        assert!(!reason.codes.is_empty() || !reason.http.is_empty(), "{} travels nowhere", reason.name);
        assert!(reason.http.iter().all(|status| (400..600).contains(status)), "{}", reason.name);
    }
    assert_eq!(Reason::named("INTERNAL").map(|reason| reason.name), Some(INTERNAL));
    assert!(Reason::named("internal").is_none());
}

/// What a service's code says, its tests apart.
fn code_below(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code_below(&path, code);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            code.push_str(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}

#[test]
fn no_reason_is_without_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    let shared = ["crates/grpc-surface", "crates/health-gate"];
    for member in ["attestation-svc", "inference-gateway", "backend-adapter"].into_iter().chain(shared) {
        code_below(&root.join(member).join("src"), &mut code);
    }
    let is_name = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    let named = |rest: &str| rest.split(|letter| !is_name(letter)).next().unwrap().to_owned();
    let used: BTreeSet<_> = code.split("reason::").skip(1).map(named).collect();
    let unused: Vec<_> = ALL.iter().map(|reason| reason.name).filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "remove from proto/src/reason.rs: {unused:?}");
}
