//! Programs and sources from the Go module proxy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::grpcurl::tools;
use crate::shell::{cache, output, progress, run};

/// The program `name` of `package`, built once; nothing but the program is kept.
pub(super) fn program(name: &str, package: &str, version: &str) -> Result<PathBuf> {
    let home = cache().join("go");
    let program = home.join(format!("{name}-{version}"));
    if !program.exists() {
        progress(&format!("building {name} {version} (minutes, once)"));
        let work = home.join(format!("build-{name}"));
        fs::create_dir_all(&work)?;
        let mut go = go(&work)?;
        go.args(["install", "-modcacherw", &format!("{package}@v{version}")]).env("CGO_ENABLED", "0");
        run(&mut go).context("the Go module proxy is needed")?;
        fs::rename(work.join(name), &program)?;
        fs::remove_dir_all(work)?;
    }
    Ok(program)
}

/// The sources of `module`, such as `istio.io/api@v1.32.0`.
pub(super) fn module(module: &str) -> Result<PathBuf> {
    let work = cache().join("go").join("modules");
    fs::create_dir_all(&work)?;
    let mut go = go(&work)?;
    let about = output(go.args(["mod", "download", "-modcacherw", "-json", module]))?;
    let about: serde_json::Value = serde_json::from_slice(&about)?;
    let folder = about.get("Dir").and_then(serde_json::Value::as_str);
    Ok(folder.with_context(|| format!("{module} has no sources"))?.into())
}

fn go(work: &Path) -> Result<Command> {
    let mut go = Command::new(tools()?.join("go"));
    go.current_dir(work).env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
    go.env("GOBIN", work).env("GOPATH", work.join("path")).env("GOCACHE", work.join("cache"));
    Ok(go)
}
