//! The packet filter of `deploy/nftables`, loaded by real nft into a network namespace of its own.

use std::process::Command;

use anyhow::Result;

use crate::shell::{apt, workspace};

const SCRIPT: &str = "crates/xtask/src/conformance/isolation.py";
const RULES: &str = "deploy/nftables/model-server.nft";

/// The script in an empty namespace; only root makes one.
pub(super) fn driver() -> Result<Command> {
    apt("nft", "nftables")?;
    apt("ip", "iproute2")?;
    let mut driver = Command::new("unshare");
    driver.current_dir(workspace()).args(["--net", "python3", SCRIPT, RULES]);
    Ok(driver)
}
