//! Running programs, and talking to whoever runs us.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// A line on stderr.
#[expect(clippy::print_stderr, reason = "progress belongs on stderr")]
pub(crate) fn progress(line: &str) {
    eprintln!("{line}");
}

/// The repository's top folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_else(|_| ".".into())
}

/// The ignored folder for what is downloaded once.
pub(crate) fn cache() -> PathBuf {
    workspace().join(".cache")
}

/// cargo, in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace()).args(arguments);
    command
}

/// Workspaces of their own, each with its own lock: what they are built with must not reach what is shipped.
pub(crate) const APART: &[&str] = &["conformance/snp-peers", "fuzz"];

/// cargo, in one of [`APART`].
pub(crate) fn apart(folder: &str, arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.current_dir(workspace().join(folder));
    command
}

/// Whether a program can be started.
pub(crate) fn is_there(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok()
}

/// Installs a Debian package where its program is missing, and this process may.
pub(crate) fn apt(program: &str, package: &str) -> Result<()> {
    if is_there(program) {
        return Ok(());
    }
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--quiet", "--no-install-recommends", package]);
    run(&mut apt).with_context(|| format!("{program} is needed: as root, apt-get install {package}"))
}

/// Runs `command` to its end; an error names it and how it ended.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    progress(&format!("$ {line}"));
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {line}"))?;
    ensure!(status.success(), "`{line}` ended with {status}");
    Ok(())
}

/// Runs `command` and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {line}"))?;
    ensure!(output.status.success(), "`{line}` ended with {}", output.status);
    Ok(output.stdout)
}

/// A Python environment with `packages` in the cache folder `name`; made once. Returns its `bin`.
pub(crate) fn python(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let home = cache().join(name);
    let (bin, complete) = (home.join("venv/bin"), home.join("installed"));
    let wanted = packages.join(" ");
    if std::fs::read_to_string(&complete).is_ok_and(|have| have == wanted) {
        return Ok(bin);
    }
    progress(&format!("installing {wanted} into .cache/{name} (once)"));
    std::fs::create_dir_all(&home)?;
    run(Command::new("python3").arg("-m").arg("venv").arg("--clear").arg(home.join("venv")))
        .context("python3 with its venv module is needed (Debian: apt-get install python3-venv)")?;
    run(Command::new(bin.join("pip")).args(["install", "--quiet"]).args(packages))?;
    std::fs::write(&complete, wanted)?;
    Ok(bin)
}

/// cargo's view of the workspace: packages, the resolved graph, the target folder.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let json = output(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    serde_json::from_slice(&json).context("cargo metadata is not JSON")
}

/// Where cargo puts what it builds, and we our results.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata.get("target_directory").and_then(|folder| folder.as_str());
    Ok(target.context("cargo metadata names no target folder")?.into())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
