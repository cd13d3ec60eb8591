//! Official clients that the tests drive unchanged.

use std::{fs, process::Command};

use anyhow::Result;

use crate::shell::{cache, progress, run, venv};

const PACKAGES: &[&str] = &["grpcio==1.85.1", "httpx==0.28.1", "openai==3.54.0"];

/// Installs them into the ignored cache where they are not there yet.
pub(crate) fn install() -> Result<()> {
    let home = cache().join("clients");
    if home.join("complete").exists() {
        return Ok(());
    }
    progress("installing official Python clients into .cache (once)");
    let pip = venv(&home)?;
    run(Command::new(pip).args(["install", "--quiet"]).args(PACKAGES))?;
    fs::write(home.join("complete"), "")?;
    Ok(())
}
