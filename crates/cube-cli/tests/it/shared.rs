//! Files beside the tests: real evidence, which is not part of the project, and its policies.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A part of the shared evidence, where that is at hand.
pub(crate) fn evidence(part: &str) -> Option<PathBuf> {
    let folder = root().join("../shared/evidence").join(part);
    if !folder.is_dir() {
        println!("skipped: ../shared is absent");
        return None;
    }
    Some(folder)
}

/// One of the two policies that the evidence index speaks of.
pub(crate) fn policy(name: &str) -> String {
    root().join("conformance/policies").join(name).to_str().unwrap().to_owned()
}
