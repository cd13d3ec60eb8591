//! An official client through `cube proxy`: `cargo xtask conformance proxy`.
//!
//! Argument: a Python with the client. The stack is real processes on simulated hardware; the client knows nothing of Cube.
//! Each case is one line of JSON on stdout.
#![expect(clippy::unwrap_used, reason = "a driver fails by panicking")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/rig.rs"]
mod rig;

use std::{
    io::{BufRead, BufReader, Lines},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use dev_stack::Service;
use e2e::{
    conformance::Run,
    fake_backend::{Script, Step},
};

use crate::rig::{Rig, program};

const RUN: Run = Run("proxy");

const SCRIPT: &str = include_str!("proxy.py");

#[tokio::main]
async fn main() {
    let python = PathBuf::from(std::env::args().nth(1).unwrap());
    let mut rig = Rig::serving("openai").await;
    let proxy = rig.blocking(|rig| Proxy::start(rig));
    let client = Client { python, told: proxy.told.clone() };
    rig.blocking(|_| {
        RUN.case("models", same(&client.run("models", &[]), "fake"));
        RUN.case("whole", same(&client.run("whole", &[]), "Hello from the fake."));
        RUN.case("stream", same(&client.run("stream", &[]), "Hello from the fake."));
        let other = [("OPENAI_API_KEY", "cube-another")];
        RUN.case("another-key-is-refused", same(&client.run("refused", &other), "401 PROXY_KEY_REQUIRED"));
        RUN.case("ollama/models", same(&client.run("ollama_models", &[]), "fake"));
        RUN.case("ollama/stream", same(&client.run("ollama_stream", &[]), "Hello from the fake."));
        let other = [("OLLAMA_API_KEY", "cube-another")];
        RUN.case("ollama/another-key-is-refused", same(&client.run("ollama_refused", &other), "401"));
        RUN.case("another-user-has-no-key", another_user(&proxy));
        RUN.case("a-web-page-is-refused", web_page(&client));
    });
    lapse(&mut rig, &client);
    rig.blocking(|rig| after_a_restart(rig, &client));
}

/// The lease ends in mid-stream: the client raises.
fn lapse(rig: &mut Rig, client: &Client) {
    rig.backend.script(Script::answer([Step::text("first"), Step::Stall]));
    let (mut child, mut lines) = rig.blocking(|_| client.start("lapse"));
    let first = rig.blocking(|_| lines.next()).unwrap().unwrap();
    rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
    let last = rig.blocking(|_| lines.next()).unwrap().unwrap();
    child.wait().unwrap();
    let raised = first == "first" && last.starts_with("raised");
    RUN.case(
        "a-lapse-in-mid-stream-raises",
        if raised { Ok(()) } else { Err(format!("{first:?}, then {last:?}")) },
    );
    let seen = rig.blocking(|_| client.run("refused", &[]));
    let refused = seen.starts_with("503") || seen.starts_with("502");
    RUN.case("after-the-lapse-nothing-is-served", if refused { Ok(()) } else { Err(seen) });
}

/// New CA, new key manifest, new certificate: the proxy verifies them, and the client notices nothing.
fn after_a_restart(rig: &mut Rig, client: &Client) {
    rig.stack.start(Service::Attestation).unwrap();
    for service in [Service::Gateway, Service::Adapter] {
        rig.stack.wait_for(service, "lease is live", rig::PATIENCE).unwrap();
    }
    RUN.case("serving-again-without-a-restart", same(&client.run("models", &[]), "fake"));
}

/// The running proxy.
struct Proxy {
    told: Vec<(String, String)>,
    child: Child,
}

impl Proxy {
    fn start(rig: &Rig) -> Self {
        let files = rig.files();
        let mut child = Command::new(program("cube"))
            .args(["proxy", &rig.url, "--policy"])
            .arg(files.client_policy())
            .arg("--allow-simulated")
            .arg(files.root())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(4).map(Result::unwrap);
        let told = lines.map(|line| line.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap());
        Self { told: told.collect(), child }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A stock client in an environment that says where the proxy is.
struct Client {
    python: PathBuf,
    told: Vec<(String, String)>,
}

impl Client {
    fn command(&self, case: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-c", SCRIPT, case]).envs(self.told.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// What it printed.
    fn run(&self, case: &str, other: &[(&str, &str)]) -> String {
        let output = self.command(case).envs(other.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { text(&output.stdout) } else { text(&output.stderr) }
    }

    fn start(&self, case: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut child = self.command(case).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }
}

/// Another user sees the port, and neither the key in its environment nor in its memory.
fn another_user(proxy: &Proxy) -> Result<(), String> {
    const NOBODY: u32 = 65_534;
    let file = format!("/proc/{}/environ", proxy.child.id());
    let mut command = Command::new("cat");
    command.arg(&file).stderr(Stdio::null()).stdin(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let key = proxy.told.iter().find(|(name, _)| name == "OPENAI_API_KEY").unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).contains(&key.1);
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", proxy.child.id())).unwrap();
    if seen || line.contains(&key.1) {
        Err("the key is in environment or arguments".to_owned())
    } else {
        Ok(())
    }
}

/// A browser adds an Origin, which no page can leave out.
fn web_page(client: &Client) -> Result<(), String> {
    let told = |name: &str| client.told.iter().find(|(told, _)| told == name).unwrap().1.clone();
    let output = Command::new("curl")
        .args(["--silent", "--write-out", " %{http_code}", "--header", "Origin: https://example.org"])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", told("OPENAI_API_KEY")))
        .arg(format!("{}/models", told("OPENAI_BASE_URL")))
        .output()
        .map_err(|error| error.to_string())?;
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    if seen.contains("PROXY_ORIGIN_REFUSED") && seen.ends_with(" 403") { Ok(()) } else { Err(seen) }
}

fn same(seen: &str, expected: &str) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("saw {seen:?}, expected {expected:?}")) }
}
