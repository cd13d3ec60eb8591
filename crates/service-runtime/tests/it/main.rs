//! The accept loop over real sockets and real TLS.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName};
use service_runtime::{
    CancellationToken, Connection, ConnectionLimits, Incoming, Observer, Server, ServerTls, no_scope,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};

mod ops;

struct Running {
    address: std::net::SocketAddr,
    certificate: CertificateDer<'static>,
    shutdown: CancellationToken,
    recycle: watch::Sender<u64>,
    task: JoinHandle<()>,
}

async fn start(router: Router, limits: ConnectionLimits) -> Running {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = issued.cert.der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], issued.signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = ServerTls { config: Arc::new(config), leaf_spki_sha256: [7; 32] };
    let (recycle, recycled) = watch::channel(0);
    let source = Arc::new(move || Some(tls.clone()));
    let server = Server {
        router,
        tls: Some(source),
        scope: no_scope(),
        limits,
        recycle: recycled,
        observer: Observer::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(Incoming::Tcp(listener), shutdown.clone()));
    Running { address, certificate, shutdown, recycle, task }
}

/// Waits for something that has to come; a hang is a failure.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what).await.expect("it never came")
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn dial(running: &Running, alpn: &[u8]) -> Tls {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(running.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(running.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

type H2 = hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>>;

async fn h2(running: &Running) -> (H2, JoinHandle<hyper::Result<()>>) {
    let io = TokioIo::new(dial(running, b"h2").await);
    let (send, connection) =
        soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), io)).await.unwrap();
    (send, tokio::spawn(connection))
}

fn request() -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get("https://localhost/").body(Empty::new()).unwrap()
}

async fn shown(Extension(connection): Extension<Arc<Connection>>) -> Vec<u8> {
    let tls = connection.tls.as_ref().unwrap();
    [tls.exporter, tls.leaf_spki_sha256].concat()
}

#[tokio::test]
async fn both_ends_know_the_same_exporter_over_h2_and_h1() {
    let running = start(Router::new().route("/", get(shown)), ConnectionLimits::default()).await;
    for alpn in [b"h2".as_slice(), b"http/1.1"] {
        let stream = dial(&running, alpn).await;
        let exporter = stream
            .get_ref()
            .1
            .export_keying_material([0; 32], service_runtime::EXPORTER_LABEL, None)
            .unwrap();
        let io = TokioIo::new(stream);
        let response = if alpn == b"h2" {
            let (mut send, connection) =
                soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), io)).await.unwrap();
            tokio::spawn(connection);
            soon(send.send_request(request())).await.unwrap()
        } else {
            let (mut send, connection) = soon(hyper::client::conn::http1::handshake(io)).await.unwrap();
            tokio::spawn(connection);
            soon(send.send_request(request())).await.unwrap()
        };
        let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(body, [exporter, [7; 32]].concat());
    }
    running.shutdown.cancel();
    soon(running.task).await.unwrap();
}

#[tokio::test]
async fn a_silent_handshake_is_given_up() {
    let limits = ConnectionLimits { handshake: Duration::from_millis(50), ..ConnectionLimits::default() };
    let running = start(Router::new(), limits).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_never_speaks_http_is_closed() {
    let short = Duration::from_millis(50);
    let limits = ConnectionLimits { idle: short, drain: short, ..ConnectionLimits::default() };
    let running = start(Router::new(), limits).await;
    let mut silent = dial(&running, b"h2").await;
    let mut rest = Vec::new();
    drop(soon(silent.read_to_end(&mut rest)).await);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed() {
    let endless = || async {
        let frames = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0; 1 << 16]));
        axum::body::Body::from_stream(frames)
    };
    let limits = ConnectionLimits { unread: Duration::from_millis(100), ..ConnectionLimits::default() };
    let running = start(Router::new().route("/", get(endless)), limits).await;
    let (mut send, connection) = h2(&running).await;
    let unread = soon(send.send_request(request())).await.unwrap();
    // The server drops the connection under an answer that nobody takes.
    drop(soon(connection).await.unwrap());
    drop(unread);
}

#[tokio::test]
async fn recycling_sends_goaway_and_cuts_no_stream() {
    let release = Arc::new(Notify::new());
    let started = Arc::new(Notify::new());
    let slow = {
        let (release, started) = (release.clone(), started.clone());
        get(move || async move {
            started.notify_one();
            release.notified().await;
            "whole"
        })
    };
    let running = start(Router::new().route("/", slow), ConnectionLimits::default()).await;
    let (mut send, connection) = h2(&running).await;
    let answer = tokio::spawn(send.send_request(request()));
    soon(started.notified()).await;
    running.recycle.send(1).unwrap();
    release.notify_one();
    let body = soon(soon(answer).await.unwrap().unwrap().into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "whole");
    // The client still holds the connection; it ends because the server sent GOAWAY.
    soon(connection).await.unwrap().unwrap();
    drop(send);
}

#[tokio::test]
async fn drain_waits_for_a_stream_and_then_cuts_it() {
    let started = Arc::new(Notify::new());
    let stuck = {
        let started = started.clone();
        get(move || async move {
            started.notify_one();
            std::future::pending::<&str>().await
        })
    };
    let limits = ConnectionLimits { drain: Duration::from_millis(50), ..ConnectionLimits::default() };
    let running = start(Router::new().route("/", stuck), limits).await;
    let (mut send, _connection) = h2(&running).await;
    let answer = tokio::spawn(send.send_request(request()));
    soon(started.notified()).await;
    running.shutdown.cancel();
    soon(running.task).await.unwrap();
    assert!(soon(answer).await.unwrap().is_err());
    assert!(TcpStream::connect(running.address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn the_kernel_says_who_is_at_the_other_end_of_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let who = |Extension(connection): Extension<Arc<Connection>>| async move {
        connection.unix_peer.as_ref().unwrap().uid.to_string()
    };
    let (_recycle, recycled) = watch::channel(0);
    let server = Server {
        router: Router::new().route("/", get(who)),
        tls: None,
        scope: no_scope(),
        limits: ConnectionLimits::default(),
        recycle: recycled,
        observer: Observer::default(),
    };
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(Incoming::Unix(listener), shutdown.clone()));
    let io = TokioIo::new(UnixStream::connect(&path).await.unwrap());
    let (mut send, connection) =
        soon(hyper::client::conn::http2::handshake(TokioExecutor::new(), io)).await.unwrap();
    tokio::spawn(connection);
    let response = soon(send.send_request(request())).await.unwrap();
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, nix::unistd::getuid().to_string());
    shutdown.cancel();
    soon(task).await.unwrap();
}
