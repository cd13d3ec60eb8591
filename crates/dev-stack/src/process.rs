//! The services as processes that can be started, watched and killed.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::files::{Files, Role};

/// The processes of one run. Dropping it kills them.
#[derive(Debug)]
pub struct Stack {
    files: Files,
    binaries: PathBuf,
    running: BTreeMap<Role, Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    lines: Receiver<LogLine>,
}

/// One line that a service wrote to stderr; JSON once its logs are set up.
pub type LogLine = String;

impl Stack {
    /// Uses the mains beside the running program, where cargo put them all.
    pub fn new(files: Files) -> Result<Self> {
        let program = std::env::current_exe()?;
        let folder = program.parent().context("no folder")?;
        // Tests and examples live one folder deeper.
        let deeper = folder.ends_with("deps") || folder.ends_with("examples");
        let folder = if deeper { folder.parent().context("no folder")? } else { folder };
        Self::with_binaries(files, folder.to_owned())
    }

    fn with_binaries(files: Files, binaries: PathBuf) -> Result<Self> {
        for role in Role::ALL {
            let path = binaries.join(program(role));
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
    pub fn start(&mut self, role: Role) -> Result<()> {
        let mut command = Command::new(self.binaries.join(program(role)));
        command.arg("--config").arg(self.files.config(role));
        command.arg("--simulated-root").arg(self.files.root());
        if role == Role::Attestation {
            command.arg("--machine").arg(self.files.machine()).arg("--guest").arg(self.files.guest());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", program(role)))?;
        let lines = follow(&mut child, self.files.log(role))?;
        self.running.insert(role, Running { child, lines });
        Ok(())
    }

    /// Starts all three and waits until the gateway serves.
    pub fn start_all(&mut self, limit: Duration) -> Result<()> {
        for role in Role::ALL {
            self.start(role)?;
        }
        self.wait_for(Role::Adapter, SERVING, limit)?;
        self.wait_for(Role::Gateway, SERVING, limit)
    }

    /// Waits for a log line with `text`; an error shows how the service ended, or its last line.
    pub fn wait_for(&mut self, role: Role, text: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let running =
            self.running.get(&role).with_context(|| format!("{} is not running", role.service()))?;
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
                    bail!("{} {what}:\n{}", role.service(), seen.join("\n"))
                }
            }
        }
    }

    /// Process id of a running service.
    pub fn pid(&self, role: Role) -> Option<u32> {
        self.running.get(&role).map(|running| running.child.id())
    }

    /// Sends a signal.
    pub fn signal(&self, role: Role, signal: Signal) -> Result<()> {
        let pid = self.pid(role).with_context(|| format!("{} is not running", role.service()))?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self, role: Role) -> Result<ExitStatus> {
        self.signal(role, Signal::SIGKILL)?;
        self.wait(role)
    }

    /// Waits for a service to end by itself.
    pub fn wait(&mut self, role: Role) -> Result<ExitStatus> {
        let running =
            self.running.get_mut(&role).with_context(|| format!("{} is not running", role.service()))?;
        let status = running.child.wait()?;
        // Its last lines may still be on their way to the log's file.
        running.lines.iter().for_each(drop);
        self.running.remove(&role);
        Ok(status)
    }

    /// The service whose process has ended, if any has.
    pub fn ended(&mut self) -> Result<Option<(Role, ExitStatus)>> {
        for (role, running) in &mut self.running {
            if let Some(status) = running.child.try_wait()? {
                let role = *role;
                self.running.remove(&role);
                return Ok(Some((role, status)));
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

fn program(role: Role) -> String {
    format!("sim-{}", role.service())
}

/// Copies a service's log to its file and hands each line on.
fn follow(child: &mut Child, log: PathBuf) -> Result<Receiver<LogLine>> {
    let stderr = child.stderr.take().context("no stderr")?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Neither a full disk nor a reader that left may block the service.
            drop(writeln!(file, "{line}"));
            drop(send.send(line));
        }
    });
    Ok(lines)
}
