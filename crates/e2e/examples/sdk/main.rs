//! Official clients, unchanged: `cargo xtask conformance openai-python|openai-node|ollama-python|ollama-js`.
//!
//! Arguments: the run's name, and the interpreter with the client. Each case is one line of JSON on stdout. Answers are a real
//! model's on llama.cpp; tool calls and what goes wrong are scripted, in front of both kinds of model server.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a driver fails by panicking")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/rig.rs"]
mod rig;

use std::{
    io::{BufRead, BufReader, Lines},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use dev_stack::Service;
use e2e::{
    conformance::Run,
    fake_backend::{FakeBackend, Script, Step},
};

use crate::rig::{PATIENCE, Rig};

/// A client library, and the script that drives it.
struct Sdk {
    run: Run,
    script: &'static str,
    /// Before the script, for the interpreter.
    flags: &'static [&'static str],
    speaks_ollama: bool,
    cases: &'static [&'static str],
}

const SDKS: &[Sdk] = &[
    Sdk {
        run: Run("openai-python"),
        script: include_str!("openai.py"),
        flags: &["-c"],
        speaks_ollama: false,
        cases: &["chat", "stream", "usage", "schema", "completion"],
    },
    Sdk {
        run: Run("openai-node"),
        script: include_str!("openai.mjs"),
        flags: &["--input-type=module", "--eval"],
        speaks_ollama: false,
        cases: &["chat", "stream", "schema"],
    },
    Sdk {
        run: Run("ollama-python"),
        script: include_str!("ollama.py"),
        flags: &["-c"],
        speaks_ollama: true,
        cases: &["chat", "stream", "schema", "generate", "show", "managing"],
    },
    Sdk {
        run: Run("ollama-js"),
        script: include_str!("ollama.mjs"),
        flags: &["--input-type=module", "--eval"],
        speaks_ollama: true,
        cases: &["chat", "stream", "schema", "generate", "show", "managing"],
    },
];

const MODEL: &str = "smollm2-135m";

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap();
    let sdk = SDKS.iter().find(|sdk| sdk.run.0 == name).unwrap();
    let interpreter = PathBuf::from(arguments.next().unwrap());
    real(sdk, &interpreter).await;
    for kind in ["openai", "ollama"] {
        scripted(sdk, &interpreter, kind).await;
    }
}

/// A real model's answers.
async fn real(sdk: &Sdk, interpreter: &Path) {
    let server = Llama::start(false);
    let mut rig = Rig::facing("openai", FakeBackend::start().await.unwrap(), server.address);
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    let client = Client::new(sdk, interpreter, &mut rig);
    sdk.run.case("models", same(&client.run("models", MODEL), MODEL));
    let mut settled = Vec::new();
    for case in sdk.cases {
        let seen = client.run(case, MODEL);
        if matches!(*case, "chat" | "stream") {
            settled.push(seen.clone());
        }
        sdk.run.case(&format!("llama.cpp/{case}"), sound(case, &seen));
    }
    sdk.run.case("llama.cpp/streamed-and-whole-are-equal", same(&settled[0], &settled[1]));
    drop((rig, server));

    let server = Llama::start(true);
    let mut rig = Rig::facing("openai", FakeBackend::start().await.unwrap(), server.address);
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    let client = Client::new(sdk, interpreter, &mut rig);
    sdk.run.case("llama.cpp/embedding", same(&client.run("embedding", MODEL).to_lowercase(), "2 true"));
}

/// Whether a real model's answer is one.
fn sound(case: &str, seen: &str) -> Result<(), String> {
    let met = match case {
        "chat" | "stream" => seen.to_lowercase().contains("gravity"),
        "schema" => seen.contains("answer"),
        "managing" => seen == "403",
        "show" => seen.contains("completion"),
        _ => seen.to_lowercase() == "true",
    };
    if met { Ok(()) } else { Err(format!("saw {seen:?}")) }
}

/// What a model cannot be made to do: call tools, and lose its lease.
async fn scripted(sdk: &Sdk, interpreter: &Path, kind: &str) {
    let mut rig = Rig::serving(kind).await;
    let client = Client::new(sdk, interpreter, &mut rig);
    let call = || Step::ToolCall { name: "weather".into(), arguments: r#"{"city": "Paris"}"#.into() };
    for case in ["tools", "tools_streamed"] {
        if case == "tools_streamed" && !sdk.script.contains(case) {
            continue;
        }
        rig.backend.script(Script::answer([call(), Step::end()]));
        let seen = rig.blocking(|_| client.run(case, "fake")).replace(' ', "");
        let called = seen.starts_with(r#"weather{"city":"Paris"}"#);
        sdk.run.case(&format!("{kind}/{case}"), if called { Ok(()) } else { Err(format!("saw {seen:?}")) });
    }
    sdk.run.case(&format!("{kind}/a-lapse-in-mid-stream-raises"), lapse(&mut rig, &client));
}

fn lapse(rig: &mut Rig, client: &Client<'_>) -> Result<(), String> {
    rig.backend.script(Script::answer([Step::text("first"), Step::Stall]));
    rig.blocking(|rig| {
        let (mut child, mut lines) = client.start("lapse", "fake");
        let first = lines.next().unwrap().unwrap();
        rig.stack.kill(Service::Attestation).unwrap();
        let last = lines.next().unwrap().unwrap();
        child.wait().unwrap();
        if first == "first" && last.starts_with("raised") {
            Ok(())
        } else {
            Err(format!("{first:?}, then {last:?}"))
        }
    })
}

/// The client in an environment that names the gateway and the CA that its evidence vouches for.
struct Client<'s> {
    sdk: &'s Sdk,
    interpreter: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl<'s> Client<'s> {
    fn new(sdk: &'s Sdk, interpreter: &Path, rig: &mut Rig) -> Self {
        let ca = rig.trusted_ca().display().to_string();
        let base = if sdk.speaks_ollama {
            ("OLLAMA_HOST", rig.url.clone())
        } else {
            ("OPENAI_BASE_URL", format!("{}/v1", rig.url))
        };
        let trust = [("SSL_CERT_FILE", ca.clone()), ("NODE_EXTRA_CA_CERTS", ca)];
        let environment = [base, ("OPENAI_API_KEY", "none".to_owned())].into_iter().chain(trust).collect();
        Self { sdk, interpreter: interpreter.to_owned(), environment }
    }

    fn command(&self, case: &str, model: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.args(self.sdk.flags).args([self.sdk.script, case, model]);
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// What it printed.
    fn run(&self, case: &str, model: &str) -> String {
        let output = tokio::task::block_in_place(|| self.command(case, model).output()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { text(&output.stdout) } else { text(&output.stderr) }
    }

    fn start(&self, case: &str, model: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut child = self.command(case, model).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }
}

/// llama.cpp's server with a real small model.
struct Llama {
    address: SocketAddr,
    child: Child,
}

impl Llama {
    fn start(embeds: bool) -> Self {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/llama");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut child = Command::new(home.join("venv/bin/python"))
            .args(["-c", include_str!("../../../xtask/src/llama_server.py")])
            .arg(home.join("model.gguf"))
            .args([MODEL, &port.to_string()])
            .args(embeds.then_some("--embeddings"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), child }
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn same(seen: &str, expected: &str) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("saw {seen:?}, expected {expected:?}")) }
}
