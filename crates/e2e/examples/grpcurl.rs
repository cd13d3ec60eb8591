//! Real grpcurl against the stack: `cargo xtask conformance grpcurl`.
//!
//! Arguments: the newest grpcurl, and an old one that asks reflection v1alpha alone. Each case is one line
//! of JSON on stdout. grpcurl is given the CA that `cube trust` vouches for, as the documents say.
#![expect(clippy::unwrap_used, reason = "a driver fails by panicking")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/rig.rs"]
mod rig;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use dev_stack::Service;
use e2e::conformance::Run;
use serde_json::{Deserializer, Value, json};

use crate::rig::{Rig, program};

const RUN: Run = Run("grpcurl");

const SERVICES: [&str; 6] = [
    "cube.attestation.v1.AttestationService",
    "cube.inference.v1.InferenceService",
    "cube.inference.v1.ModelService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];
const INFERENCE: &str = "cube.inference.v1.InferenceService";
const STREAM_CHAT: &str = "cube.inference.v1.InferenceService/StreamChat";
const LIST_MODELS: &str = "cube.inference.v1.ModelService/ListModels";
const CHAT: &str =
    r#"{"spec":{"model":"fake","messages":[{"role":"ROLE_USER","content":[{"text":"hello"}]}]}}"#;
/// grpcurl's exit code for a status is this and the code of the status.
const STATUS: i32 = 64;
const UNAVAILABLE: i32 = 14;

#[tokio::main]
async fn main() {
    let [newest, old] = std::env::args().skip(1).map(PathBuf::from).collect::<Vec<_>>().try_into().unwrap();
    let mut rig = Rig::serving("openai").await;
    let ca = rig.trusted_ca();
    let server = rig.url.trim_start_matches("https://").to_owned();
    let newest = Grpcurl { program: newest, ca: Some(ca.clone()), server };
    let old = Grpcurl { program: old, ..newest.clone() };
    rig.blocking(|_| serving(&newest, &old));
    lapse(&mut rig, &newest);
}

/// While the gate is open.
fn serving(newest: &Grpcurl, old: &Grpcurl) {
    for (grpcurl, version) in [(newest, "v1"), (old, "v1alpha")] {
        RUN.case(&format!("list-{version}"), lists(grpcurl));
        RUN.case(&format!("describe-service-{version}"), describes_a_service(grpcurl));
        RUN.case(&format!("describe-message-{version}"), describes_a_message(grpcurl));
    }
    RUN.case("unary", models(newest));
    RUN.case("unary-chat", whole_answer(newest));
    RUN.case("stream", events(newest));
    RUN.case("evidence", evidence(newest));
    RUN.case("refused-by-field", bad_request(newest));
    RUN.case("inner-service-is-not-there", inner_service(newest));
    for name in SERVICES.into_iter().chain([""]) {
        RUN.case(&format!("health-{}", if name.is_empty() { "all" } else { name }), health(newest, name));
    }
    RUN.case("unknown-ca-is-refused", stranger(&Grpcurl { ca: None, ..newest.clone() }));
}

/// attestation-svc dies, the door shuts; it comes back, and so does the service, under a new CA.
fn lapse(rig: &mut Rig, grpcurl: &Grpcurl) {
    let files = Offline::write(rig);
    let mut watch = grpcurl.spawn(&["grpc.health.v1.Health/Watch"]);
    let mut told = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || told.by_ref().map_while(Result::ok).find(|line| line.contains("status"));
    let before = next();
    rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
    rig.wait_for(Service::Gateway, "lapsed");
    RUN.case("health-watch-tells-the-lapse", watched(before, rig.blocking(|_| next())));
    rig.blocking(|_| end(&mut watch));

    let described = grpcurl.clone();
    rig.blocking(|_| {
        RUN.case("refused-while-lapsed-unary", lapsed(&described.offline(&files.cube, "{}", LIST_MODELS)));
        RUN.case("refused-while-lapsed-stream", lapsed(&described.offline(&files.cube, CHAT, STREAM_CHAT)));
        RUN.case("refused-while-lapsed-list", unlisted(&described.run(&["list"])));
        let health = described.offline(&files.health, "{}", "grpc.health.v1.Health/Check");
        RUN.case("health-while-lapsed", says(&health, "NOT_SERVING"));
    });

    rig.stack.start(Service::Attestation).unwrap();
    for service in [Service::Gateway, Service::Adapter] {
        rig.wait_for(service, "lease is live");
    }
    rig.blocking(|_| RUN.case("former-ca-is-refused-after-a-restart", stranger(grpcurl)));
    let renewed = Grpcurl { ca: Some(rig.trusted_ca()), ..grpcurl.clone() };
    rig.blocking(|_| {
        RUN.case("serving-again-unary", models(&renewed));
        RUN.case("serving-again-stream", events(&renewed));
        RUN.case("serving-again-health", health(&renewed, ""));
    });
}

/// One grpcurl, the CA that it trusts, and the gateway.
#[derive(Clone)]
struct Grpcurl {
    program: PathBuf,
    ca: Option<PathBuf>,
    server: String,
}

/// What a run of it printed, and how it ended.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Grpcurl {
    /// `flags` come before the server, `verb` after it.
    fn command(&self, flags: &[&str], verb: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-connect-timeout", "5", "-max-time", "60"]);
        if let Some(ca) = &self.ca {
            command.arg("-cacert").arg(ca);
        }
        command.args(flags).arg(&self.server).args(verb).stdin(Stdio::null());
        command
    }

    fn run(&self, verb: &[&str]) -> Ran {
        ran(self.command(&[], verb))
    }

    fn call(&self, message: &str, method: &str) -> Ran {
        ran(self.command(&["-d", message], &[method]))
    }

    /// A call that asks no reflection first.
    fn offline(&self, descriptors: &str, message: &str, method: &str) -> Ran {
        ran(self.command(&["-protoset", descriptors, "-d", message], &[method]))
    }

    fn spawn(&self, verb: &[&str]) -> Child {
        self.command(&[], verb).stdout(Stdio::piped()).spawn().unwrap()
    }
}

fn ran(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    child.wait().unwrap();
}

/// Descriptors in files, for when reflection is refused.
struct Offline {
    cube: String,
    health: String,
}

impl Offline {
    fn write(rig: &mut Rig) -> Self {
        let folder = rig.files().folder().join("protos");
        let mut cube = Command::new(program("cube"));
        cube.args(["protos", "--out"]).arg(&folder).stdout(Stdio::null());
        assert!(rig.blocking(|_| cube.status()).unwrap().success());
        let health = folder.join("health.binpb");
        fs::write(&health, tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        Self { cube: text(folder.join("cube.binpb")), health: text(health) }
    }
}

impl Ran {
    /// Its standard output, where it ended well.
    fn good(&self) -> Result<&str, String> {
        if self.code == Some(0) {
            Ok(&self.stdout)
        } else {
            Err(format!("ended with {:?}: {}", self.code, self.stderr))
        }
    }

    /// The messages that it printed, one after the other.
    fn messages(&self) -> Result<Vec<Value>, String> {
        let values = Deserializer::from_str(self.good()?).into_iter();
        values.collect::<Result<_, _>>().map_err(|error| format!("{error} in {}", self.stdout))
    }

    fn message(&self) -> Result<Value, String> {
        self.messages()?.into_iter().next().ok_or_else(|| "no message".to_owned())
    }
}

fn hold(condition: bool, seen: &impl ToString) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen.to_string()) }
}

fn says(ran: &Ran, words: &str) -> Result<(), String> {
    hold(ran.good()?.contains(words), &ran.stdout)
}

fn lists(grpcurl: &Grpcurl) -> Result<(), String> {
    let ran = grpcurl.run(&["list"]);
    hold(ran.good()?.lines().eq(SERVICES), &ran.stdout)
}

fn describes_a_service(grpcurl: &Grpcurl) -> Result<(), String> {
    let ran = grpcurl.run(&["describe", INFERENCE]);
    says(&ran, "// Answers as events, as they are generated.")?;
    says(
        &ran,
        "rpc StreamChat ( .cube.inference.v1.StreamChatRequest ) returns ( stream .cube.inference.v1.StreamChatResponse );",
    )
}

fn describes_a_message(grpcurl: &Grpcurl) -> Result<(), String> {
    let ran = grpcurl.run(&["describe", "cube.inference.v1.Sampling"]);
    says(&ran, "// 0 is greedy. Range 0 to 2.")?;
    says(&ran, "optional float temperature = 1;")
}

fn models(grpcurl: &Grpcurl) -> Result<(), String> {
    let answer = grpcurl.call("{}", LIST_MODELS).message()?;
    hold(answer.pointer("/models/0/name") == Some(&json!("models/fake")), &answer)
}

fn whole_answer(grpcurl: &Grpcurl) -> Result<(), String> {
    let answer = grpcurl.call(CHAT, "cube.inference.v1.InferenceService/Chat").message()?;
    let text = answer.pointer("/message/content/0/text");
    hold(text == Some(&json!("Hello from the fake.")), &answer)
}

fn events(grpcurl: &Grpcurl) -> Result<(), String> {
    let events = grpcurl.call(CHAT, STREAM_CHAT).messages()?;
    let words = events.iter().filter_map(|event| event.pointer("/event/text/text")?.as_str());
    let usage = events.last().and_then(|event| event.pointer("/event/usage/completionTokens"));
    hold(words.collect::<String>() == "Hello from the fake." && usage == Some(&json!(3)), &json!(events))
}

fn evidence(grpcurl: &Grpcurl) -> Result<(), String> {
    // 32 bytes in base64, as JSON has `bytes`.
    let request = json!({ "nonce": format!("{}A=", "A".repeat(42)), "binding": "BINDING_TLS_SPKI" });
    let ran = grpcurl.call(&request.to_string(), "cube.attestation.v1.AttestationService/GetEvidence");
    let answer = ran.message()?;
    hold(answer.get("bundle").and_then(Value::as_str).is_some_and(|bundle| bundle.len() > 4000), &answer)
}

fn bad_request(grpcurl: &Grpcurl) -> Result<(), String> {
    refused(&grpcurl.call("{}", STREAM_CHAT), 3, "INVALID_REQUEST")
}

fn inner_service(grpcurl: &Grpcurl) -> Result<(), String> {
    let ran = grpcurl.run(&["describe", "cube.backend.v1.BackendService"]);
    hold(ran.code != Some(0) && !ran.stdout.contains("Generate"), &ran.stdout)
}

fn health(grpcurl: &Grpcurl, name: &str) -> Result<(), String> {
    let request = json!({ "service": name }).to_string();
    let answer = grpcurl.call(&request, "grpc.health.v1.Health/Check").message()?;
    hold(answer == json!({ "status": "SERVING" }), &answer)
}

fn watched(before: Option<String>, after: Option<String>) -> Result<(), String> {
    let seen = format!("{before:?}, then {after:?}");
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    hold(before.contains("\"SERVING\"") && after.contains("\"NOT_SERVING\""), &seen)
}

/// The server is known by the CA of the evidence, and by nothing else.
fn stranger(grpcurl: &Grpcurl) -> Result<(), String> {
    let ran = grpcurl.run(&["list"]);
    hold(ran.code != Some(0) && ran.stderr.contains("x509"), &format!("{:?}: {}", ran.code, ran.stderr))
}

fn lapsed(ran: &Ran) -> Result<(), String> {
    refused(ran, UNAVAILABLE, "ATTESTATION_LAPSED")
}

/// grpcurl shows no details of a refused `list`, and has no exit code of its own for it.
fn unlisted(ran: &Ran) -> Result<(), String> {
    let told = ran.stderr.contains("code = Unavailable desc = the health lease of this service is not live");
    hold(ran.code != Some(0) && told, &format!("{:?}: {}{}", ran.code, ran.stdout, ran.stderr))
}

fn refused(ran: &Ran, code: i32, reason: &str) -> Result<(), String> {
    let seen = format!("{:?}: {}{}", ran.code, ran.stdout, ran.stderr);
    hold(ran.code == Some(STATUS + code) && ran.stderr.contains(reason), &seen)
}
