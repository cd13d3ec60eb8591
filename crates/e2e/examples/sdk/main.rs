//! Official clients, unchanged: `cargo xtask conformance openai-python|openai-node|ollama-python|ollama-js|grpc-clients`.
//!
//! Arguments: the run's name, and an interpreter for each of its clients. Each case is one line of JSON on stdout. Answers are a real
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
    fake_backend::{FakeBackend, Head, Script, Step},
};
use http::StatusCode;

use crate::rig::{PATIENCE, Rig};

/// A client library, and the script that drives it.
struct Sdk {
    run: Run,
    speaks: Speaks,
    /// How the interpreter is given the script; nothing for a program that needs neither.
    script: &'static [&'static str],
    cases: &'static [&'static str],
    scripted: &'static [&'static str],
}

enum Speaks {
    OpenAi,
    Ollama,
    Grpc,
}

const NODE: [&str; 2] = ["--input-type=module", "--eval"];
const OLLAMA_CASES: &[&str] = &["chat", "stream", "schema", "generate", "show", "managing"];
const GRPC_CASES: &[&str] = &["chat", "stream", "schema", "completion"];
const TOOLS: &[&str] = &["tools", "tools_streamed"];
const GRPC_SCRIPTED: &[&str] = &["tools", "refused", "deadline"];

const SDKS: &[Sdk] = &[
    Sdk {
        run: Run("openai-python"),
        speaks: Speaks::OpenAi,
        script: &["-c", include_str!("openai.py")],
        cases: &["chat", "stream", "usage", "schema", "completion"],
        scripted: TOOLS,
    },
    Sdk {
        run: Run("openai-node"),
        speaks: Speaks::OpenAi,
        script: &[NODE[0], NODE[1], include_str!("openai.mjs")],
        cases: &["chat", "stream", "schema"],
        scripted: &["tools"],
    },
    Sdk {
        run: Run("ollama-python"),
        speaks: Speaks::Ollama,
        script: &["-c", include_str!("ollama.py")],
        cases: OLLAMA_CASES,
        scripted: TOOLS,
    },
    Sdk {
        run: Run("ollama-js"),
        speaks: Speaks::Ollama,
        script: &[NODE[0], NODE[1], include_str!("ollama.mjs")],
        cases: OLLAMA_CASES,
        scripted: &["tools"],
    },
    Sdk {
        run: Run("grpc-clients/python"),
        speaks: Speaks::Grpc,
        script: &["-c", include_str!("grpc.py")],
        cases: GRPC_CASES,
        scripted: GRPC_SCRIPTED,
    },
    Sdk {
        run: Run("grpc-clients/node"),
        speaks: Speaks::Grpc,
        script: &[NODE[0], NODE[1], include_str!("grpc.mjs")],
        cases: GRPC_CASES,
        scripted: GRPC_SCRIPTED,
    },
    Sdk {
        run: Run("grpc-clients/go"),
        speaks: Speaks::Grpc,
        script: &[],
        cases: GRPC_CASES,
        scripted: GRPC_SCRIPTED,
    },
];

const MODEL: &str = "smollm2-135m";

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap();
    let sdks: Vec<_> = SDKS.iter().filter(|sdk| sdk.run.0.split('/').next() == Some(&name)).collect();
    let interpreters: Vec<_> = arguments.map(PathBuf::from).collect();
    assert_eq!(sdks.len(), interpreters.len(), "each client has an interpreter");
    for (sdk, interpreter) in sdks.into_iter().zip(interpreters) {
        real(sdk, &interpreter).await;
        for kind in ["openai", "ollama"] {
            scripted(sdk, &interpreter, kind).await;
        }
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

/// What a model cannot be made to do: call tools, refuse, stall, and lose its lease.
async fn scripted(sdk: &Sdk, interpreter: &Path, kind: &str) {
    let mut rig = Rig::serving(kind).await;
    let client = Client::new(sdk, interpreter, &mut rig);
    for case in sdk.scripted {
        let (script, expected) = script(case);
        rig.backend.script(script);
        let seen = rig.blocking(|_| client.run(case, "fake"));
        let met = seen.replace([' ', '_'], "").to_lowercase().starts_with(expected);
        sdk.run.case(&format!("{kind}/{case}"), if met { Ok(()) } else { Err(format!("saw {seen:?}")) });
    }
    sdk.run.case(&format!("{kind}/a-lapse-in-mid-stream-raises"), lapse(&mut rig, &client));
}

/// What the model server does in a case, and what the client sees: in small letters, since each library writes codes its own
/// way.
fn script(case: &str) -> (Script, &'static str) {
    match case {
        "refused" => (Script::head(Head::Status(StatusCode::NOT_FOUND)), "notfoundmodelnotfound"),
        "deadline" => (Script::answer([Step::Stall]), "deadlineexceeded"),
        _ => {
            let call = Step::ToolCall { name: "weather".into(), arguments: r#"{"city": "Paris"}"#.into() };
            (Script::answer([call, Step::end()]), r#"weather{"city":"paris"}"#)
        }
    }
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
        let base = match sdk.speaks {
            Speaks::OpenAi => ("OPENAI_BASE_URL", format!("{}/v1", rig.url)),
            Speaks::Ollama => ("OLLAMA_HOST", rig.url.clone()),
            Speaks::Grpc => ("GATEWAY", rig.url.trim_start_matches("https://").to_owned()),
        };
        let trust = [("SSL_CERT_FILE", ca.clone()), ("NODE_EXTRA_CA_CERTS", ca)];
        let environment = [base, ("OPENAI_API_KEY", "none".to_owned())].into_iter().chain(trust).collect();
        Self { sdk, interpreter: interpreter.to_owned(), environment }
    }

    fn command(&self, case: &str, model: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.args(self.sdk.script).args([case, model]);
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
