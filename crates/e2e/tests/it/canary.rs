//! Rule 10: what a caller says, and what the model answers, is written nowhere.
//!
//! A word that stands nowhere else is put wherever a caller or a model server can put one. Then
//! everything that the services wrote at their most talkative is searched for it: logs, spans,
//! metrics, error bodies, and what the kernel shows of the processes.

use std::fs;

use attested_client::AttestedChannel;
use base64::{Engine, engine::general_purpose::STANDARD};
use dev_stack::Service;
use e2e::fake_backend::{Head, Script, Step};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use proto::inference::v1::StreamChatRequest;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Service as _, ServiceExt};

use crate::{
    collector::Collector,
    rig::{PATIENCE, Rig, spec},
};

/// Said in no other place.
const CANARY: &str = "Xanthippe-9f2c41d7";
/// How every JWS begins.
const TOKEN: &str = "eyJ";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_said_to_an_openai_backend_is_written_anywhere() {
    story("openai").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_said_to_an_ollama_backend_is_written_anywhere() {
    story("ollama").await;
}

async fn story(kind: &str) {
    let collector = Collector::start().await;
    let mut rig = Rig::prepared(kind).await;
    for service in Service::ALL {
        tell_everything(&rig, service, &collector);
    }
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();

    let mut errors = Vec::new();
    answered(&rig).await;
    failed_behind(&rig, &mut errors).await;
    every_path(&rig, &mut errors).await;
    no_http(&rig).await;
    let metrics = [scrape(&rig, 9464).await, scrape(&rig, 9465).await, scrape(&rig, 9466).await];
    for service in Service::ALL {
        process_keeps_to_itself(&rig, service);
    }
    let ca = rig.channel().await.ca_certificate().unwrap().clone();
    stop(&mut rig, Service::Attestation);
    rig.wait_for(Service::Gateway, "lapsed");
    let shut = every_path_while_shut(&rig, &ca).await;
    errors.extend(shut);
    stop(&mut rig, Service::Gateway);
    stop(&mut rig, Service::Adapter);

    for (place, text) in errors {
        assert!(!holds(text.as_bytes(), CANARY), "an error says it: {place}: {text}");
    }
    for (text, own) in metrics.iter().zip(["/v1/chat/completions", "CollectEvidence", "BackendService"]) {
        assert!(text.contains(own), "{own} is told of in {text}");
        assert!(!holds(text.as_bytes(), CANARY), "{text}");
    }
    for service in Service::ALL {
        let log = fs::read(rig.files().log(service)).unwrap();
        assert!(holds(&log, "\"target\":\"access\""), "{service:?} writes access lines");
        assert!(!holds(&log, CANARY) && !holds(&log, TOKEN), "{service:?} logged it");
    }
    // An Ollama is asked in its own dialect, the other in the caller's.
    let method = if kind == "openai" { "Relay" } else { "Generate" };
    spans_tell_of_one_request_and_not_of_its_words(&collector, method);
}

/// Logs at their most talkative, spans, metrics and health, all on.
fn tell_everything(rig: &Rig, service: Service, collector: &Collector) {
    let config = rig.files().config(service);
    let text = fs::read_to_string(&config).unwrap().replace("\"info\"", "\"trace\"");
    let port = match service {
        Service::Gateway => 9464,
        Service::Attestation => 9465,
        Service::Adapter => 9466,
    };
    let (ip, url) = (rig.ip, collector.url());
    fs::write(rig.files().folder().join("collector.pem"), &collector.ca_pem).unwrap();
    let more = format!(
        "[metrics]\nlisten = \"{ip}:{port}\"\n[health]\nlisten = \"{ip}:1{port}\"\n\
         [traces]\notlp_endpoint = \"{url}\"\notlp_ca = \"collector.pem\"\n"
    );
    fs::write(config, text + &more).unwrap();
}

/// Whole answers, whose words are the caller's to have and nobody else's.
async fn answered(rig: &Rig) {
    for stream in [true, false] {
        rig.backend.script(Script::answer([
            Step::Reasoning(CANARY.into()),
            Step::text(CANARY),
            Step::ToolCall { name: CANARY.into(), arguments: format!("{{\"a\":\"{CANARY}\"}}") },
            Step::end(),
        ]));
        let (status, body) = send(rig, Method::POST, "/v1/chat/completions", chat(stream)).await;
        let whole = body.contains(CANARY) && !body.contains("\"error\"");
        assert!(status == StatusCode::OK && whole, "{body}");
    }
    rig.backend.script(Script::answer([Step::text(CANARY), Step::end()]));
    let (status, body) = send(rig, Method::POST, STREAM_CHAT, grpc(&said())).await;
    assert!(status == StatusCode::OK && body.contains(CANARY), "{body}");
}

/// A model server that repeats the prompt in whatever goes wrong.
async fn failed_behind(rig: &Rig, errors: &mut Vec<(String, String)>) {
    let broken = [
        Script::refuse(StatusCode::BAD_REQUEST),
        Script::refuse(StatusCode::NOT_FOUND),
        Script::refuse(StatusCode::TOO_MANY_REQUESTS),
        Script::refuse(StatusCode::INTERNAL_SERVER_ERROR),
        Script::head(Head::Die),
        Script::answer([Step::Error(CANARY.into())]),
        Script::answer([Step::Raw(CANARY.into())]),
        Script::answer([Step::Raw(format!("data: {{\"model\":\"{CANARY}\",\"{CANARY}\":1}}\n\n").into())]),
        Script::answer([Step::text("part"), Step::Error(CANARY.into())]),
        Script::answer([Step::text("part"), Step::EndWithoutMarker]),
        Script::answer([Step::text("part"), Step::Die]),
    ];
    for script in broken {
        let place = format!("{script:?}");
        for (path, body) in [
            ("/v1/chat/completions", chat(true)),
            ("/v1/chat/completions", chat(false)),
            (STREAM_CHAT, grpc(&said())),
        ] {
            rig.backend.script(script.clone());
            let (_, answer) = send(rig, Method::POST, path, body).await;
            errors.push((place.clone(), answer));
        }
    }
}

/// Each path that there is, asked in a way that it cannot answer, and one that there is not.
async fn every_path(rig: &Rig, errors: &mut Vec<(String, String)>) {
    let paths = inference_gateway::server::paths();
    assert!(paths.patterns().len() > 10, "{paths:?}");
    for pattern in paths.patterns().iter().chain(&["/{anything}"]) {
        for path in asked(pattern) {
            for method in [Method::GET, Method::POST, Method::PUT] {
                for body in [Bodies::Json(format!("{{\"model\":\"{CANARY}\"")), grpc(&frame(CANARY))] {
                    let (status, answer) = send(rig, method.clone(), &path, body).await;
                    if status != StatusCode::OK || answer.contains("grpc-message") {
                        errors.push((format!("{method} {path}"), answer));
                    }
                }
            }
        }
    }
}

/// The same once the lease has lapsed.
async fn every_path_while_shut(rig: &Rig, ca: &CertificateDer<'static>) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for path in ["/v1/chat/completions", "/attestation/report", STREAM_CHAT] {
        let mut tls = rig.http1_trusting(ca.clone()).await;
        let kind = if path == STREAM_CHAT { "application/grpc" } else { "application/json" };
        let request = format!(
            "POST {path}?q={CANARY} HTTP/1.1\r\nhost: x\r\nx-said: {CANARY}\r\ncontent-type: {kind}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{CANARY}",
            CANARY.len()
        );
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The body is not read, so the connection may end with a reset after the answer.
        drop(tls.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("503") || answer.contains("grpc-status: 14"), "{answer}");
        answers.push((path.to_owned(), answer));
    }
    answers
}

/// Bytes that are no HTTP.
async fn no_http(rig: &Rig) {
    for bytes in [format!("{CANARY} {CANARY}\r\n\r\n"), format!("GET /{CANARY} HTTP/9.9\r\n{CANARY}\r\n\r\n")]
    {
        let mut tls = rig.http1().await;
        tls.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = String::new();
        drop(tls.read_to_string(&mut answer).await);
        assert!(!answer.contains(CANARY), "{answer}");
    }
}

const STREAM_CHAT: &str = "/cube.inference.v1.InferenceService/StreamChat";

enum Bodies {
    Json(String),
    Grpc(Vec<u8>),
}

/// Every field of a chat request that takes words.
fn chat(stream: bool) -> Bodies {
    let tool = serde_json::json!({"type": "function", "function": {
        "name": "t", "description": CANARY, "parameters": {"type": "object", "title": CANARY}}});
    let body = serde_json::json!({
        "model": "fake", "stream": stream, "stop": [CANARY], "tools": [tool],
        "messages": [{"role": "system", "content": CANARY}, {"role": "user", "content": CANARY}]
    });
    Bodies::Json(body.to_string())
}

fn said() -> Vec<u8> {
    frame_of(&StreamChatRequest { spec: Some(spec(CANARY)) }.encode_to_vec())
}

fn frame(text: &str) -> Vec<u8> {
    frame_of(text.as_bytes())
}

/// gRPC over HTTP/2, "Length-Prefixed-Message".
fn frame_of(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat()
}

fn grpc(frame: &[u8]) -> Bodies {
    Bodies::Grpc(frame.to_vec())
}

/// Paths that fit `pattern`, with words wherever words may stand.
fn asked(pattern: &str) -> Vec<String> {
    let path = pattern.split_once('{').map_or(pattern.to_owned(), |(prefix, _)| format!("{prefix}{CANARY}"));
    vec![format!("{path}?nonce={CANARY}&{CANARY}=1"), path]
}

/// Status and body of the answer, and its trailers as text.
async fn send(rig: &Rig, method: Method, path: &str, body: Bodies) -> (StatusCode, String) {
    let (kind, body) = match body {
        Bodies::Json(text) => ("application/json", text.into_bytes()),
        Bodies::Grpc(bytes) => ("application/grpc", bytes),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .header("authorization", format!("Bearer {CANARY}"))
        .header("user-agent", CANARY)
        .header("cube-request-id", CANARY)
        .header("x-said", CANARY)
        .header("baggage", format!("said={CANARY}"))
        .header("tracestate", format!("said={CANARY}"))
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(tonic::body::Body::new(Full::from(body).map_err(|never| match never {})))
        .unwrap();
    let mut channel: AttestedChannel = rig.channel().await;
    let (head, mut body) = channel.ready().await.unwrap().call(request).await.unwrap().into_parts();
    let (mut bytes, mut ends) = (Vec::new(), shown(&head.headers));
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(trailers) => ends.push_str(&shown(&trailers.into_trailers().unwrap_or_default())),
        }
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    // gRPC hides its details in base64.
    for part in ends.split('"').filter_map(|part| STANDARD.decode(part).ok()) {
        text += &String::from_utf8_lossy(&part);
    }
    (head.status, text + &ends)
}

fn shown(headers: &http::HeaderMap) -> String {
    format!("{headers:?}")
}

async fn scrape(rig: &Rig, port: u16) -> String {
    let mut stream = tokio::net::TcpStream::connect((rig.ip, port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn process_keeps_to_itself(rig: &Rig, service: Service) {
    let kernel =
        |file: &str| fs::read_to_string(format!("/proc/{}/{file}", rig.stack.pid(service).unwrap())).unwrap();
    let limits = kernel("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().skip(4).take(2).eq(["0", "0"]), "{core}");
    for file in ["environ", "cmdline"] {
        let text = kernel(file);
        assert!(!holds(text.as_bytes(), CANARY) && !text.contains(TOKEN), "{service:?} {file}: {text}");
    }
}

/// Ends a service as an operator would, so that it tells the last that it has to tell.
fn stop(rig: &mut Rig, service: Service) {
    rig.stack.signal(service, Signal::SIGTERM).unwrap();
    let status = rig.blocking(|rig| rig.stack.wait(service)).unwrap();
    assert_eq!(status.code(), Some(0), "{service:?}");
}

fn spans_tell_of_one_request_and_not_of_its_words(collector: &Collector, method: &str) {
    let bytes = collector.bytes();
    assert!(!bytes.is_empty(), "nothing was exported");
    assert!(!holds(&bytes, CANARY) && !holds(&bytes, TOKEN), "a span says it");
    let spans = collector.spans();
    let named = |service: &str, name: &str| {
        spans
            .iter()
            .filter(|(of, span)| of.contains(service) && span.name == name)
            .map(|(_, span)| span)
            .collect::<Vec<_>>()
    };
    for (outer, inner_service, inner) in [
        ("/v1/chat/completions", "backend-adapter", &*format!("/cube.backend.v1.BackendService/{method}")),
        ("/attestation/report", "attestation-svc", "/cube.attestation.v1.EvidenceService/CollectEvidence"),
    ] {
        let outer = named("inference-gateway", outer);
        let inner = named(inner_service, inner);
        let of_one_trace = |(outer, inner): (&&Span, &&Span)| {
            outer.span_id == inner.parent_span_id && outer.trace_id == inner.trace_id
        };
        let pairs = outer.iter().flat_map(|outer| inner.iter().map(move |inner| (outer, inner)));
        assert!(pairs.filter(|pair| of_one_trace(*pair)).count() > 0, "{spans:?}");
    }
    let theirs = hex::decode("0af7651916cd43dd8448eb211c80319c").unwrap();
    assert!(spans.iter().all(|(_, span)| span.trace_id != theirs), "a stranger's trace is not joined");
    assert!(
        spans.iter().any(|(_, span)| span.links.iter().any(|link| link.trace_id == theirs)),
        "it is linked to"
    );
}

/// Whether `bytes` hold `word`, as it is or as it is usually written.
fn holds(bytes: &[u8], word: &str) -> bool {
    let forms =
        [word.as_bytes().to_vec(), hex::encode(word).into_bytes(), STANDARD.encode(word).into_bytes()];
    forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_slice()))
}
