//! The files of `deploy/mesh/envoy` in a real Envoy.

use std::process::Command;

use anyhow::Result;

use super::example;
use crate::bench::envoy;

pub(super) fn driver() -> Result<Command> {
    let mut driver = example("envoy")?;
    driver.arg(envoy()?);
    Ok(driver)
}
