//! The packet filter of `deploy/nftables`, loaded by real nft into a network namespace of its own.

use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::{is_there, run, workspace};

const SCRIPT: &str = "crates/xtask/src/conformance/isolation.py";
const RULES: &str = "deploy/nftables/model-server.nft";

/// The script in an empty namespace; only root makes one.
pub(super) fn driver() -> Result<Command> {
    if !is_there("nft") {
        run(Command::new("apt-get").args(["install", "--yes", "--quiet", "nftables", "iproute2"]))
            .context("nft is needed (Debian: apt-get install nftables iproute2), and root")?;
    }
    let mut driver = Command::new("unshare");
    driver.current_dir(workspace()).args(["--net", "python3", SCRIPT, RULES]);
    Ok(driver)
}
