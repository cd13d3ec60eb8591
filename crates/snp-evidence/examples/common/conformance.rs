//! The form in which `cargo xtask conformance` reads what a run found.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

/// One thing tried, `real:…` on real hardware's evidence or `fixture:…` on the simulator's.
pub(crate) struct Case {
    pub(crate) id: String,
    /// `None` where it could not be tried.
    pub(crate) passed: Option<bool>,
    pub(crate) why: String,
}

/// Writes the cases to `file`; whether none failed.
pub(crate) fn write(name: &str, cases: &[Case], file: &Path) -> io::Result<bool> {
    let result = |passed| match passed {
        Some(true) => "pass",
        Some(false) => "fail",
        None => "skip",
    };
    let row = |case: &Case| json!({ "id": case.id, "result": result(case.passed), "why": case.why });
    let report = json!({ "name": name, "cases": cases.iter().map(row).collect::<Vec<Value>>() });
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, serde_json::to_string_pretty(&report)?)?;
    Ok(cases.iter().all(|case| case.passed != Some(false)))
}
