//! `cube proxy`: what it lets through, what it refuses, and that an answer ends as it ended upstream.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader},
    net::{TcpStream, UnixStream},
    process::{Child, Command},
};

use crate::{
    gateway::{BREAK, Behaviour, Gateway, LEFT},
    tool::cube,
    world::world,
};

/// The running proxy, as it told of itself.
struct Proxy {
    told: Vec<(String, String)>,
    _child: Child,
}

impl Proxy {
    async fn start(gateway: &Gateway, more: &[&str]) -> Self {
        let (url, world) = (gateway.url(), world());
        let args = ["proxy", &url, "--policy", world.policy_file(), "--allow-simulated", world.root_file()];
        let mut child = Command::new(env!("CARGO_BIN_EXE_cube"))
            .args(args)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        while !told
            .iter()
            .any(|(name, _): &(String, String)| name.ends_with("_API_KEY") && name != "OPENAI_API_KEY")
        {
            let line = lines.next_line().await.unwrap().unwrap();
            let (name, value) = line.split_once('=').unwrap();
            told.push((name.to_owned(), value.to_owned()));
        }
        Self { told, _child: child }
    }

    fn told(&self, name: &str) -> &str {
        &self.told.iter().find(|(told, _)| told == name).unwrap().1
    }

    fn address(&self) -> String {
        self.told("OLLAMA_HOST").trim_start_matches("http://").to_owned()
    }

    /// As a well-behaved client has it.
    fn request(&self, path: &str) -> http::request::Builder {
        let key = format!("Bearer {}", self.told("OPENAI_API_KEY"));
        Request::post(path).header("host", self.address()).header("authorization", key)
    }

    async fn send(&self, request: http::request::Builder) -> http::Response<Incoming> {
        over(TcpStream::connect(self.address()).await.unwrap(), request).await
    }
}

async fn over(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: http::request::Builder,
) -> http::Response<Incoming> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    // It ends with the answer, or with whoever drops that.
    drop(tokio::spawn(connection));
    sender.send_request(request.body(Full::new(Bytes::from_static(b"the prompt"))).unwrap()).await.unwrap()
}

async fn text(answer: http::Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn code(answer: http::Response<Incoming>) -> String {
    let json: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    json["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_goes_through_without_what_is_the_proxys_own() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let proxy = Proxy::start(&gateway, &[]).await;
    assert_eq!(proxy.told("OPENAI_BASE_URL"), format!("http://{}/v1", proxy.address()));
    let request = proxy.request("/v1/echo?a=b").header("connection", "close, x-hop").header("x-hop", "1");
    let answer = proxy.send(request.header("x-mine", "2")).await;
    assert_eq!(
        (answer.status(), answer.headers()["content-type"].as_bytes()),
        (StatusCode::OK, &b"text/plain"[..])
    );
    let seen = text(answer).await;
    assert!(
        seen.starts_with(&format!("POST https://localhost:{}/v1/echo?a=b\n", gateway.address.port())),
        "{seen}"
    );
    assert!(seen.ends_with("\n\nthe prompt") && seen.contains("x-mine: \"2\""), "{seen}");
    for own in ["cube-", "x-hop", "authorization", "connection"] {
        assert!(!seen.contains(own), "{own} in {seen}");
    }
}

#[tokio::test]
async fn the_gateways_own_key_takes_the_place_of_the_proxys() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let file = world().folder().join("api-key");
    std::fs::write(&file, "sk-upstream\n").unwrap();
    let proxy = Proxy::start(&gateway, &["--api-key-file", file.to_str().unwrap()]).await;
    let seen = text(proxy.send(proxy.request("/v1/echo")).await).await;
    assert!(seen.contains("authorization: Sensitive") || seen.contains("sk-upstream"), "{seen}");
    assert!(!seen.contains("cube-"), "{seen}");
}

#[tokio::test]
async fn strangers_and_web_pages_are_refused_in_the_clients_dialect() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let proxy = Proxy::start(&gateway, &[]).await;
    let without_key = Request::post("/v1/echo").header("host", proxy.address());
    let answer = proxy.send(without_key).await;
    assert_eq!(
        (answer.status(), code(answer).await.as_str()),
        (StatusCode::UNAUTHORIZED, "PROXY_KEY_REQUIRED")
    );
    let answer = proxy.send(proxy.request("/v1/echo").header("origin", "https://example.org")).await;
    assert_eq!(
        (answer.status(), code(answer).await.as_str()),
        (StatusCode::FORBIDDEN, "PROXY_ORIGIN_REFUSED")
    );
    let rebound = Request::post("/api/chat").header("host", "rebound.example.org");
    let answer = proxy.send(rebound).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let json: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    assert!(json["error"].as_str().unwrap().contains("PROXY_HOST_REFUSED"), "{json}");
}

#[tokio::test]
async fn nothing_leaves_for_a_gateway_that_is_not_verified_any_more() {
    // The proxy's first look is answered honestly, and every connection after it with the same bundle.
    let replay = Behaviour::Replay(Arc::new(Mutex::new(None)));
    let gateway = Gateway::behaving(replay).await;
    let proxy = Proxy::start(&gateway, &[]).await;
    let answer = proxy.send(proxy.request("/v1/echo")).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let said = text(answer).await;
    assert!(said.contains("PROXY_UPSTREAM_NOT_VERIFIED") && said.contains("bundle.nonce"), "{said}");
    let grpc = proxy
        .request("/cube.inference.v1.ModelService/ListModels")
        .header("content-type", "application/grpc");
    let answer = proxy.send(grpc).await;
    assert_eq!((answer.status(), answer.headers()["grpc-status"].as_bytes()), (StatusCode::OK, &b"14"[..]));
}

#[tokio::test]
async fn a_gateway_that_is_refused_at_the_start_gets_no_proxy() {
    let gateway = Gateway::behaving(Behaviour::OtherNonce).await;
    let (url, world) = (gateway.url(), world());
    let args = ["proxy", &url, "--policy", world.policy_file(), "--allow-simulated", world.root_file()];
    let run = cube(&args).await;
    assert_eq!((run.code, run.stdout.as_str()), (13, ""), "{}", run.stderr);
    let run = cube(&[&args as &[&str], &["--listen", "0.0.0.0:0"]].concat()).await;
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("not loopback"), "{}", run.stderr);
}

#[tokio::test]
async fn an_answer_that_breaks_off_upstream_breaks_off_here() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let proxy = Proxy::start(&gateway, &[]).await;
    let mut body = proxy.send(proxy.request("/v1/broken")).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a piece");
    BREAK.notify_one();
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let proxy = Proxy::start(&gateway, &[]).await;
    let mut body = proxy.send(proxy.request("/v1/endless")).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    LEFT.notified().await;
}

#[tokio::test]
async fn a_socket_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let socket = world().folder().join("proxy.sock");
    let proxy = Proxy::start(&gateway, &["--socket", socket.to_str().unwrap()]).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let request = |key: &str| Request::post("/v1/echo").header("host", "localhost").header("x-api-key", key);
    let connect = || async { UnixStream::connect(&socket).await.unwrap() };
    let answer = over(connect().await, request(proxy.told("CUBE_API_KEY"))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(over(connect().await, request("another")).await.status(), StatusCode::UNAUTHORIZED);
}
