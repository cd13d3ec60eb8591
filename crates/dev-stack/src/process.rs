//! The services as processes that can be started, watched and killed.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::files::{Files, Service};

/// The processes of one run. Dropping it kills them.
#[derive(Debug)]
pub struct Stack {
    files: Files,
    binaries: PathBuf,
    running: BTreeMap<Service, Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// What it wrote to stderr, a line each; JSON once its logs are set up.
    lines: Receiver<String>,
}

/// Lines that are kept for somebody to wait for; beyond them they are in the log's file alone.
const LINES: usize = 10_000;

impl Stack {
    /// Uses the mains beside the running program, where cargo put them all.
    pub fn new(files: Files) -> Result<Self> {
        let running = std::env::current_exe()?;
        let folder = running.parent().context("no folder")?;
        // Tests and examples live one folder deeper.
        let deeper = folder.ends_with("deps") || folder.ends_with("examples");
        let binaries = if deeper { folder.parent().context("no folder")? } else { folder }.to_owned();
        for service in Service::ALL {
            let path = binaries.join(program(service));
            if !path.exists() {
                bail!("{} is missing; run `cargo build --workspace --bins`", path.display());
            }
        }
        Ok(Self { files, binaries, running: BTreeMap::new() })
    }

    /// This run's files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Starts a service on the simulated machine.
    pub fn start(&mut self, service: Service) -> Result<()> {
        let mut command = Command::new(self.binaries.join(program(service)));
        command.arg("--config").arg(self.files.config(service));
        command.arg("--simulated-root").arg(self.files.root());
        if service == Service::Attestation {
            command.arg("--machine").arg(self.files.machine()).arg("--guest").arg(self.files.guest());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", program(service)))?;
        let lines = follow(&mut child, self.files.log(service))?;
        self.running.insert(service, Running { child, lines });
        Ok(())
    }

    /// Starts all three and waits until the gateway serves.
    pub fn start_all(&mut self, limit: Duration) -> Result<()> {
        for service in Service::ALL {
            self.start(service)?;
        }
        self.wait_for(Service::Adapter, SERVING, limit)?;
        self.wait_for(Service::Gateway, SERVING, limit)
    }

    /// Waits for a log line with `text`; an error shows how the service ended, or its last line.
    pub fn wait_for(&mut self, service: Service, text: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let running =
            self.running.get(&service).with_context(|| format!("{} is not running", service.name()))?;
        let mut seen = Vec::new();
        loop {
            match running.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(()),
                Ok(line) => seen.push(line),
                Err(why) => {
                    let what = match why {
                        RecvTimeoutError::Timeout => format!("did not say {text} within {limit:?}"),
                        RecvTimeoutError::Disconnected => format!("ended before it said {text}"),
                    };
                    bail!("{} {what}:\n{}", service.name(), seen.join("\n"))
                }
            }
        }
    }

    /// Process id of a running service.
    pub fn pid(&self, service: Service) -> Option<u32> {
        self.running.get(&service).map(|running| running.child.id())
    }

    /// Sends a signal.
    pub fn signal(&self, service: Service, signal: Signal) -> Result<()> {
        let pid = self.pid(service).with_context(|| format!("{} is not running", service.name()))?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self, service: Service) -> Result<ExitStatus> {
        self.signal(service, Signal::SIGKILL)?;
        self.wait(service)
    }

    /// Waits for a service to end by itself.
    pub fn wait(&mut self, service: Service) -> Result<ExitStatus> {
        let running =
            self.running.get_mut(&service).with_context(|| format!("{} is not running", service.name()))?;
        let status = running.child.wait()?;
        // Its last lines may still be on their way to the log's file.
        running.lines.iter().for_each(drop);
        self.running.remove(&service);
        Ok(status)
    }

    /// The service whose process has ended, if any has.
    pub fn ended(&mut self) -> Result<Option<(Service, ExitStatus)>> {
        for (service, running) in &mut self.running {
            if let Some(status) = running.child.try_wait()? {
                let service = *service;
                self.running.remove(&service);
                return Ok(Some((service, status)));
            }
        }
        Ok(None)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            // It may have ended by itself.
            drop(running.child.kill());
            drop(running.child.wait());
        }
    }
}

/// What gateway and adapter log once their port answers.
const SERVING: &str = "\"serving\"";

fn program(service: Service) -> String {
    format!("sim-{}", service.name())
}

/// Copies a service's log to its file and hands each line on.
fn follow(child: &mut Child, log: PathBuf) -> Result<Receiver<String>> {
    let stderr = child.stderr.take().context("no stderr")?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let (send, lines) = sync_channel(LINES);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Neither a full disk nor a reader that left may block the service.
            drop(writeln!(file, "{line}"));
            drop(send.try_send(line));
        }
    });
    Ok(lines)
}
