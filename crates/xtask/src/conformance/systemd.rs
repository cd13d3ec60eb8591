//! The units of `deploy/systemd`, by systemd's own tools; and what the services call, by strace.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use super::example;
use crate::shell::{apt, run, target, workspace};

const SCRIPT: &str = "crates/xtask/src/conformance/systemd.py";
const SERVICES: [&str; 3] = ["attestation-svc", "inference-gateway", "backend-adapter"];

/// The script, with a trace of each service at work: started, asked and stopped.
pub(super) fn driver() -> Result<Command> {
    apt("systemd-analyze", "systemd")?;
    apt("strace", "strace")?;
    let traces = target()?.join("traces");
    fs::create_dir_all(&traces)?;
    run(example("traced")?.arg(&traces))?;
    let trace = |service: &str| format!("{service}={}", traces.join(service).display());
    let mut driver = Command::new("python3");
    driver.current_dir(workspace()).arg(SCRIPT).arg(Path::new("deploy/systemd"));
    driver.args(SERVICES.map(trace));
    Ok(driver)
}
