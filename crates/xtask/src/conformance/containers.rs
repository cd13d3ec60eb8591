//! The images of `deploy/containers`, under a real Docker.

use std::{fs, process::Command};

use anyhow::Result;

use super::example;
use crate::{
    package::{TARGET, set_up},
    shell::{apt, cargo, run, target, workspace},
};

const SCRIPT: &str = "crates/xtask/src/conformance/containers.py";

/// Static programs, those on simulated hardware too, and files for them.
pub(super) fn driver() -> Result<Command> {
    apt("dockerd", "docker.io")?;
    set_up()?;
    let packages = ["attestation-svc", "inference-gateway", "backend-adapter", "dev-stack"];
    let mut build = cargo(&["build", "--locked", "--bins", "--target", TARGET]);
    run(build.args(packages.iter().flat_map(|package| ["--package", package])))?;
    let scratch = target()?.join("containers");
    drop(fs::remove_dir_all(&scratch));
    let deployment = scratch.join("deployment");
    fs::create_dir_all(&deployment)?;
    run(example("containers-prepare")?.arg(&deployment))?;
    let mut driver = Command::new("python3");
    driver.current_dir(workspace()).arg(SCRIPT).arg(target()?.join(TARGET).join("debug"));
    driver.arg(target()?.join("debug/cube")).arg(deployment).arg(scratch);
    Ok(driver)
}
