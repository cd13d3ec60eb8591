//! `cargo xtask package`: what somebody downloads. Programs that need no library of the machine they run on, and checksums.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::shell::{apt, cargo, output, progress, run, target};

pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";
/// Packages and the programs of the same build.
const PROGRAMS: &[(&str, &str)] = &[
    ("cube-cli", "cube"),
    ("attestation-svc", "attestation-svc"),
    ("inference-gateway", "inference-gateway"),
    ("backend-adapter", "backend-adapter"),
];

/// Builds them into `target/package`, and tries each.
pub(crate) fn package() -> Result<()> {
    set_up()?;
    let mut build = cargo(&["build", "--release", "--locked", "--bins", "--target", TARGET]);
    build.args(PROGRAMS.iter().flat_map(|(package, _)| ["--package", package]));
    run(&mut build)?;
    let folder = target()?.join("package");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (_, program) in PROGRAMS {
        let built = target()?.join(TARGET).join("release").join(program);
        is_static(&built)?;
        fs::copy(&built, folder.join(program)).with_context(|| built.display().to_string())?;
    }
    let programs = PROGRAMS.iter().map(|(_, program)| *program);
    let sums = output(Command::new("sha256sum").current_dir(&folder).args(programs))?;
    fs::write(folder.join("SHA256SUMS"), &sums)?;
    progress(&format!("in {}:", folder.display()));
    print(&String::from_utf8(sums)?);
    Ok(())
}

pub(crate) fn set_up() -> Result<()> {
    apt("musl-gcc", "musl-tools")?;
    run(Command::new("rustup").args(["target", "add", TARGET]))
        .with_context(|| format!("Rust's libraries for {TARGET} are needed, and rustup to install them"))
}

/// It starts without any file of this machine's, a loader among them.
fn is_static(program: &Path) -> Result<()> {
    let linked = Command::new("ldd").arg(program).output().context("ldd")?;
    let said = [linked.stdout, linked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        said.contains("statically linked") || said.contains("not a dynamic executable"),
        "{} needs libraries: {said}",
        program.display()
    );
    run(Command::new(program).arg("--version").env_clear())
}

#[expect(clippy::print_stdout, reason = "results belong on stdout")]
fn print(text: &str) {
    print!("{text}");
}
