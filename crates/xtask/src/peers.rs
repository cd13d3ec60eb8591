//! Programs that verify SNP evidence and are not ours, each installed or built when it is asked for.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::shell::{apart, cache, cargo, is_there, progress, run, target};

/// As locked in `conformance/snp-peers`.
pub(crate) const SEV: &str = "8.0.0";
pub(crate) const SNPGUEST: &str = "0.11.0";

/// Where a peer's program is, or what it lacks on this machine.
pub(crate) enum Peer {
    At(PathBuf),
    Missing(String),
}

/// Crate `sev` with one of its backends: `sev-openssl`, `sev-nossl`. Built alone, since they exclude each other.
pub(crate) fn sev(name: &str) -> Result<Peer> {
    if name == "sev-openssl" && !has_openssl() {
        return Ok(Peer::Missing(NO_OPENSSL.to_owned()));
    }
    let built = target()?.join("snp-peers");
    let mut cargo = apart("conformance/snp-peers", &["build", "--locked", "--release", "--package", name]);
    run(cargo.arg("--target-dir").arg(&built))?;
    Ok(Peer::At(built.join("release").join(name)))
}

/// Built from crates.io, once; nothing but the program is kept.
pub(crate) fn snpguest() -> Result<Peer> {
    if !has_openssl() {
        return Ok(Peer::Missing(NO_OPENSSL.to_owned()));
    }
    let home = cache().join("snpguest").join(SNPGUEST);
    let program = home.join("bin/snpguest");
    if !program.exists() {
        progress(&format!("building snpguest {SNPGUEST} (some minutes, once)"));
        let work = cache().join("snpguest/build");
        let install = ["install", "snpguest", "--locked", "--version", SNPGUEST, "--root"];
        run(cargo(&install).arg(&home).arg("--target-dir").arg(&work))?;
        std::fs::remove_dir_all(work)?;
    }
    Ok(Peer::At(program))
}

const NO_OPENSSL: &str = "it links OpenSSL (Debian: apt-get install libssl-dev pkg-config)";

fn has_openssl() -> bool {
    is_there("pkg-config")
        && Command::new("pkg-config")
            .args(["--exists", "openssl"])
            .status()
            .is_ok_and(|status| status.success())
}
