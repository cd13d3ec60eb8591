//! The main job, shown: evidence checked, then a model's words over the checked connection.

mod backend;
mod text;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use service_runtime::{CancellationToken, SystemClock, shutdown_on_signals};

use crate::{
    files::{Files, Service},
    prepare::{self, new_root, prepare},
    process::Stack,
};

/// What the demo shows.
#[derive(Debug, Args)]
pub struct Options {
    /// The model server, such as <http://127.0.0.1:11434>.
    #[arg(long, value_name = "URL")]
    backend: String,
    /// What to ask.
    #[arg(long, default_value = "What is gravity?")]
    prompt: String,
    /// Stop after one answer.
    #[arg(long)]
    once: bool,
}

/// For the whole chain to come up, simulated root included.
const START: Duration = Duration::from_mins(1);

/// Runs the demo to its end.
pub async fn run(options: &Options) -> Result<()> {
    let shutdown = shutdown_on_signals()?;
    end_with_stdin(shutdown.clone());
    let folder = Folder::create()?;
    text::banner();
    text::progress("making a simulated machine under a root of its own");
    let chosen = choose(options)?;
    let files = prepare(&folder.0, &chosen, &new_root(&SystemClock)?)?;
    let mut stack = Stack::new(files)?;
    text::progress("starting attestation-svc, backend-adapter and inference-gateway");
    stack.start_all(START)?;
    let url = format!("https://127.0.0.1:{}", chosen.gateway.port());
    let demo = Demo { url, model: backend::first_model(&chosen)?, stack };
    demo.show(&options.prompt)?;
    if options.once {
        return Ok(());
    }
    text::try_yourself(&demo);
    demo.stay(shutdown).await
}

/// A running stack and where it answers.
#[derive(Debug)]
pub(crate) struct Demo {
    url: String,
    model: String,
    stack: Stack,
}

impl Demo {
    fn files(&self) -> &Files {
        self.stack.files()
    }

    /// The check table, then the answer, both on stdout by the `cube` command itself.
    fn show(&self, prompt: &str) -> Result<()> {
        self.cube(&["verify", &self.url, "--summary"])?;
        self.write_ca()?;
        text::question(prompt);
        self.cube(&["chat", &self.url, prompt])
    }

    fn cube(&self, arguments: &[&str]) -> Result<()> {
        let status = self.command(arguments)?.status().context("cube cannot be started")?;
        ensure!(status.success(), "cube {} ended with {status}", arguments.first().unwrap_or(&""));
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let program = std::env::current_exe()?.with_file_name("cube");
        let mut command = Command::new(program);
        command.args(arguments).arg("--policy").arg(self.files().client_policy());
        command.arg("--allow-simulated").arg(self.files().root());
        Ok(command)
    }

    /// The CA that stock clients trust: the one that the evidence vouches for.
    fn write_ca(&self) -> Result<()> {
        let output = self.command(&["trust", &self.url])?.output().context("cube cannot be started")?;
        ensure!(output.status.success(), "cube trust: {}", String::from_utf8_lossy(&output.stderr));
        Ok(fs::write(self.files().ca(), output.stdout)?)
    }

    /// Stays up, and says what happens to the services.
    async fn stay(mut self, shutdown: CancellationToken) -> Result<()> {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = tick.tick() => {}
            }
            if let Some((service, status)) = self.stack.ended()? {
                text::ended(&self, service, status);
                ensure!(service == Service::Attestation, "the demo cannot go on without {}", service.name());
                self.watch_the_door();
            }
        }
    }

    fn watch_the_door(&mut self) {
        match self.stack.wait_for(Service::Gateway, LAPSED, Duration::from_secs(20)) {
            Ok(()) => text::door_is_shut(self),
            Err(error) => text::progress(&format!("{error:#}")),
        }
    }
}

/// What the gateway logs when its lease ends.
const LAPSED: &str = "lapsed";

/// Removed with the demo.
struct Folder(PathBuf);

impl Folder {
    /// A new folder that nobody can have made before us.
    fn create() -> Result<Self> {
        let mut name = [0; 8];
        aws_lc_rs::rand::fill(&mut name).map_err(|_| anyhow!("no random bytes"))?;
        let path = std::env::temp_dir().join(format!("cube-demo-{}", hex::encode(name)));
        fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder in the temporary directory is no reason to fail at the end.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn choose(options: &Options) -> Result<prepare::Options> {
    let address = backend::address(&options.backend)?;
    let kind = backend::kind(&address)?;
    let mut chosen = prepare::Options::on(IpAddr::V4(Ipv4Addr::LOCALHOST), kind, address);
    for port in [&mut chosen.gateway, &mut chosen.attestation, &mut chosen.adapter] {
        *port = free(*port)?;
    }
    Ok(chosen)
}

/// Whoever started the demo holds its standard input; where that ends, so does the demo.
fn end_with_stdin(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        // The end and an error are the same: nobody is there any more.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        shutdown.cancel();
    });
}

/// `wanted`, or the next free port after it.
fn free(wanted: SocketAddr) -> Result<SocketAddr> {
    // In steps of ten: the three differ in their last digit, so none takes another's.
    let candidates = (0..100).map(|step| SocketAddr::new(wanted.ip(), wanted.port() + step * 10));
    let mut free = candidates.filter(|address| TcpListener::bind(address).is_ok());
    free.next().with_context(|| format!("no free port from {} on", wanted.port()))
}
