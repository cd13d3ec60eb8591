//! How soon the model server is told that a caller has left: `cargo xtask bench disconnect`.
//!
//! Callers of each interface leave a real chain, in front of each kind of model server: in the silence before an answer that
//! would be streamed, behind its first piece, and while an answer is awaited that comes whole. Measured is the time from the
//! caller's end of its connection, or of its call where calls share one, to the end of the model server's.

use std::{
    error::Error,
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use attested_client::{AttestedChannel, Limits, ServerTrust};
use dev_stack::{Options, Stack, new_root, prepare};
use e2e::{
    bench::{Report, failed, median, percentile},
    fake_backend::{FakeBackend, Head, Received, Script, Step},
};
use proto::inference::v1::{
    ChatRequest, ChatSpec, ContentPart, Message, Role, StreamChatRequest, chat_event::Event,
    content_part::Part, inference_service_client::InferenceServiceClient,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use service_runtime::{BackendAddress, Clock, SystemClock};
use snp_evidence::{Policy, TrustRoots, UnixTime};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Callers of each kind who leave.
const EACH: usize = 40;
/// For the services to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the caller speaks.
#[derive(Clone, Copy)]
enum Front {
    Grpc,
    /// HTTP/1.1 with OpenAI's or Ollama's path.
    Http(&'static str),
}

const FRONTS: [Front; 3] = [Front::Grpc, Front::Http("/v1/chat/completions"), Front::Http("/api/chat")];

/// When the caller leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Silence,
    Streaming,
    Whole,
}

const CASES: [(Phase, [&str; 2]); 3] = [
    (Phase::Silence, ["before the first piece, p50", "before the first piece, p99"]),
    (Phase::Streaming, ["between two pieces, p50", "between two pieces, p99"]),
    (Phase::Whole, ["before a whole answer, p50", "before a whole answer, p99"]),
];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(bench()));
    outcome.map_or_else(|error| failed("disconnect", &*error), |()| ExitCode::SUCCESS)
}

async fn bench() -> Outcome<()> {
    let mut report = Report::from_arguments("disconnect")?;
    let mut every = Vec::new();
    for kind in ["openai", "ollama"] {
        let world = World::start(kind).await?;
        for front in FRONTS {
            for (phase, metrics) in CASES {
                let mut took = Vec::with_capacity(EACH);
                for _ in 0..EACH {
                    took.push(world.leave(front, phase).await?.as_secs_f64() * 1e3);
                }
                for (metric, percent) in metrics.into_iter().zip([50, 99]) {
                    report.row(name(front, kind), metric, percentile(&took, percent), "ms");
                }
                every.extend(took);
            }
        }
    }
    report.ratio("p50_ms", median(&every));
    report.ratio("p99_ms", percentile(&every, 99));
    Ok(report.finish()?)
}

fn name(front: Front, kind: &str) -> &'static str {
    match (front, kind) {
        (Front::Grpc, "openai") => "gRPC to OpenAI's dialect",
        (Front::Grpc, _) => "gRPC to Ollama",
        (Front::Http("/api/chat"), "openai") => "Ollama's API to OpenAI's dialect",
        (Front::Http("/api/chat"), _) => "Ollama's API to Ollama",
        (Front::Http(_), "openai") => "OpenAI's API to its own dialect",
        (Front::Http(_), _) => "OpenAI's API to Ollama",
    }
}

/// A running chain, and who calls.
struct World {
    backend: FakeBackend,
    channel: AttestedChannel,
    gateway: SocketAddr,
    tls: TlsConnector,
    _stack: Stack,
    _folder: TempDir,
}

impl World {
    async fn start(kind: &str) -> Outcome<Self> {
        mtls::install_crypto_provider();
        let (folder, backend) = (tempfile::tempdir()?, FakeBackend::start().await?);
        let address = BackendAddress::Tcp(backend.address());
        let [gateway, attestation, adapter] = [free()?, free()?, free()?];
        let options = Options::on([127, 0, 0, 1].into(), kind, address);
        let options = Options { gateway, attestation, adapter, ..options };
        let mut stack = Stack::new(prepare(folder.path(), &options, &new_root(&SystemClock)?)?)?;
        stack.start_all(PATIENCE)?;
        let target = format!("https://{gateway}").parse()?;
        let roots = TrustRoots::simulated(&std::fs::read(stack.files().root())?)?;
        let policy = Policy::parse(&std::fs::read(stack.files().client_policy())?)?;
        let (trust, limits, now) =
            (ServerTrust::EvidenceAlone, Limits::default(), UnixTime(SystemClock.unix()));
        let channel = AttestedChannel::connect(&target, &trust, limits, &roots, &policy, now).await?;
        let mut trusted = RootCertStore::empty();
        trusted.add(channel.ca_certificate().ok_or("the gateway shows no CA")?.clone())?;
        let tls = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(tls));
        Ok(Self { backend, channel, gateway, tls, _stack: stack, _folder: folder })
    }

    /// How long after the caller it was that the model server's connection ended.
    async fn leave(&self, front: Front, phase: Phase) -> Outcome<Duration> {
        self.backend.script(match phase {
            Phase::Streaming => Script::answer([Step::text("one"), Step::Stall]),
            Phase::Silence | Phase::Whole => Script::head(Head::Never),
        });
        let before = self.backend.requests().len();
        match front {
            Front::Grpc if phase == Phase::Whole => {
                let mut client = InferenceServiceClient::new(self.channel.clone());
                let call = client.chat(ChatRequest { spec: Some(spec()) });
                self.left(before, call).await
            }
            Front::Grpc if phase == Phase::Silence => {
                let mut client = InferenceServiceClient::new(self.channel.clone());
                let call = client.stream_chat(StreamChatRequest { spec: Some(spec()) });
                self.left(before, call).await
            }
            Front::Grpc => self.left_behind_a_piece(before).await,
            Front::Http(path) => self.hung_up(before, path, phase).await,
        }
    }

    /// `call` is given up as soon as the model server has it.
    async fn left(&self, before: usize, call: impl Future) -> Outcome<Duration> {
        let mut call = Box::pin(call);
        let received = tokio::select! {
            received = self.received(before) => received?,
            _ = &mut call => return Err("an answer where there should be silence".into()),
        };
        let left = Instant::now();
        drop(call);
        self.backend.closed(received.connection).await?;
        Ok(left.elapsed())
    }

    async fn left_behind_a_piece(&self, before: usize) -> Outcome<Duration> {
        let mut client = InferenceServiceClient::new(self.channel.clone());
        let mut events = client.stream_chat(StreamChatRequest { spec: Some(spec()) }).await?.into_inner();
        while let Some(answer) = events.message().await? {
            if let Some(Event::Text(_)) = answer.event.and_then(|event| event.event) {
                break;
            }
        }
        let received = self.received(before).await?;
        let left = Instant::now();
        drop(events);
        self.backend.closed(received.connection).await?;
        Ok(left.elapsed())
    }

    async fn hung_up(&self, before: usize, path: &str, phase: Phase) -> Outcome<Duration> {
        let stream = TcpStream::connect(self.gateway).await?;
        stream.set_nodelay(true)?;
        let mut tls = self.tls.connect(ServerName::IpAddress(self.gateway.ip().into()), stream).await?;
        let (streamed, content) = (phase != Phase::Whole, "What is gravity?");
        let body = format!(
            "{{\"model\":\"fake\",\"stream\":{streamed},\"messages\":[{{\"role\":\"user\",\"content\":\"{content}\"}}]}}"
        );
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n");
        tls.write_all(format!("{head}content-type: application/json\r\n\r\n{body}").as_bytes()).await?;
        let mut seen = String::new();
        while phase == Phase::Streaming && !seen.contains("one") {
            seen.push(tls.read_u8().await?.into());
        }
        let received = self.received(before).await?;
        let left = Instant::now();
        drop(tls);
        self.backend.closed(received.connection).await?;
        Ok(left.elapsed())
    }

    /// The chat request behind the first `before` requests of whatever kind.
    async fn received(&self, before: usize) -> Outcome<Received> {
        for at in before.. {
            let received = self.backend.received(at).await?;
            if received.path.contains("chat") {
                return Ok(received);
            }
        }
        Err("more requests than can be counted".into())
    }
}

fn spec() -> ChatSpec {
    let part = ContentPart { part: Some(Part::Text("What is gravity?".to_owned())) };
    let message = Message { role: Role::User.into(), content: vec![part], ..Message::default() };
    ChatSpec { model: "fake".to_owned(), messages: vec![message], ..ChatSpec::default() }
}

fn free() -> Outcome<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
