//! `cargo xtask package`: what somebody downloads. Programs that need no library of the machine they run on, a wheel that
//! carries `cube`, what each is made of (CycloneDX), and checksums.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::shell::{apt, cache, cargo, output, progress, run, target, workspace};

/// Lists what a program is made of.
const SBOM: &str = "0.10.0";
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";
/// Packages and the programs of the same build.
const PROGRAMS: &[(&str, &str)] = &[
    ("cube-cli", "cube"),
    ("attestation-svc", "attestation-svc"),
    ("inference-gateway", "inference-gateway"),
    ("backend-adapter", "backend-adapter"),
    ("cvm-init", "cvm-init"),
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
    for (package, program) in PROGRAMS {
        fs::write(folder.join(format!("{program}.cdx.json")), made_of(package)?)?;
    }
    wheel(&folder)?;
    let mut files: Vec<_> =
        fs::read_dir(&folder)?.map(|file| Ok(file?.file_name())).collect::<Result<_>>()?;
    files.sort();
    let sums = output(Command::new("sha256sum").current_dir(&folder).args(files))?;
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

/// The crates behind a program, by their versions, licences and checksums.
fn made_of(package: &str) -> Result<Vec<u8>> {
    let home = cache().join("cargo-sbom");
    let program = home.join("bin/cargo-sbom");
    if !program.exists() {
        progress(&format!("installing cargo-sbom {SBOM} (a minute, once)"));
        run(cargo(&["install", "cargo-sbom", "--version", SBOM, "--locked", "--root"]).arg(&home))?;
    }
    let mut sbom = Command::new(program);
    sbom.current_dir(workspace()).args([
        "--cargo-package",
        package,
        "--output-format",
        "cyclone_dx_json_1_6",
    ]);
    let made_of = output(&mut sbom)?;
    let read: serde_json::Value = serde_json::from_slice(&made_of)?;
    let components = read.get("components").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    ensure!(components > 10, "cargo-sbom names {components} crates of {package}");
    Ok(made_of)
}

/// Installed into an environment of its own, it brings the program.
fn wheel(folder: &Path) -> Result<()> {
    let program = folder.join("cube");
    let about = String::from_utf8(output(Command::new(&program).arg("--version"))?)?;
    let version = about.split_whitespace().last().context("cube tells no version")?;
    let mut make = Command::new("python3");
    make.current_dir(workspace()).arg("crates/xtask/src/wheel.py").arg(&program).arg(version).arg(folder);
    let made = String::from_utf8(output(&mut make)?)?;
    let venv = target()?.join("wheel");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let bin = venv.join("bin");
    let mut pip = Command::new(bin.join("pip"));
    run(pip.args(["install", "--quiet", "--no-index", "--disable-pip-version-check", made.trim()]))?;
    run(Command::new(bin.join("cube")).arg("--version"))
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
