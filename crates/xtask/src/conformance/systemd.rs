//! The units of `deploy/systemd`, by systemd's own tools; and what the services call, by strace.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::example;
use crate::shell::{is_there, run, target, workspace};

const SCRIPT: &str = "crates/xtask/src/conformance/systemd.py";
const SERVICES: [&str; 3] = ["attestation-svc", "inference-gateway", "backend-adapter"];

/// The script, with a trace of each service at work: started, asked and stopped.
pub(super) fn driver() -> Result<Command> {
    for (program, package) in [("systemd-analyze", "systemd"), ("strace", "strace")] {
        if !is_there(program) {
            run(Command::new("apt-get").args(["install", "--yes", "--quiet", package]))
                .with_context(|| format!("{program} is needed (Debian: apt-get install {package})"))?;
        }
    }
    let traces = target()?.join("traces");
    fs::create_dir_all(&traces)?;
    run(example("traced")?.arg(&traces))?;
    let trace = |service: &str| format!("{service}={}", traces.join(service).display());
    let mut driver = Command::new("python3");
    driver.current_dir(workspace()).arg(SCRIPT).arg(Path::new("deploy/systemd"));
    driver.args(SERVICES.map(trace));
    Ok(driver)
}
