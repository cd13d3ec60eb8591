//! `demo`: the main job, end to end.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    backend,
    shell::{self, cargo, progress, target},
};

/// What the demo shows.
#[derive(Args)]
pub(crate) struct Options {
    /// Stop after one answer instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// What to ask.
    #[arg(long, default_value = "What is gravity?")]
    prompt: String,
    /// Your own Ollama (http://127.0.0.1:11434) or vLLM (http://127.0.0.1:8000) instead of the
    /// small model; loopback only.
    #[arg(long, value_name = "URL")]
    backend_url: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    build()?;
    let mut own = None;
    let address = if let Some(url) = &options.backend_url {
        url.clone()
    } else {
        let python = backend::install()?;
        let address = free_port()?;
        progress("loading the model");
        own = Some(backend::start(&python, address)?);
        format!("http://{address}")
    };
    let ended = show(options, &address);
    if let Some(mut server) = own {
        // Its standard input is ours: closing it ends the server.
        drop(server.stdin.take());
        server.wait()?;
    }
    ended
}

fn build() -> Result<()> {
    let arguments = ["build", "--locked", "--package", "dev-stack", "--package", "cube-cli", "--bins"];
    shell::run(&mut cargo(&arguments))
}

fn show(options: &Options, backend: &str) -> Result<()> {
    let mut command = Command::new(target()?.join("debug/dev-stack"));
    command.args(["demo", "--backend", backend, "--prompt", &options.prompt]);
    if options.once {
        command.arg("--once");
    }
    // It ends when its standard input does, so it never outlives us.
    let mut child = command.stdin(Stdio::piped()).spawn().context("the demo cannot be started")?;
    let stdin = child.stdin.take();
    let status = child.wait()?;
    drop(stdin);
    ensure!(status.success(), "the demo ended with {status}");
    Ok(())
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
