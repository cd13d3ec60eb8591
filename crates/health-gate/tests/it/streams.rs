//! A lapse as clients see it: over real TLS, in each dialect, with the answer half way out.

use std::sync::Arc;

use axum::{Router, body::Body, extract::Path, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use health_gate::{GateLayer, Holder};
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming as Answer,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls::Role;
use service_runtime::{CancellationToken, ConnectionLimits, Incoming, Observer, Server, no_scope};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    fake::Fake,
    world::{World, soon, until_open},
};

struct Door {
    world: World,
    fake: Fake,
    holder: Holder,
    address: std::net::SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

/// One frame, and then silence.
async fn endless(Path((kind, subtype)): Path<(String, String)>) -> Response<Body> {
    let frames = stream::iter([Ok::<_, axum::Error>("data: {}\n\n")]).chain(stream::pending());
    let response = Response::builder().header(header::CONTENT_TYPE, format!("{kind}/{subtype}"));
    response.body(Body::from_stream(frames)).unwrap()
}

impl Door {
    async fn open() -> Self {
        let world = World::new();
        let fake = Fake::start(&world);
        let holder = world.hold(Role::Gateway).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let layer = GateLayer::new(holder.gate(), |parts| parts.uri.path() == "/livez");
        let server = Server {
            router: Router::new()
                .route("/{kind}/{subtype}", get(endless))
                .route("/livez", get(|| async { "live" }))
                .layer(layer),
            tls: Some(holder.listener_tls("gateway/public")),
            scope: no_scope(),
            limits: ConnectionLimits::default(),
            recycle: holder.epoch_changed(),
            observer: Observer::default(),
        };
        tokio::spawn(server.serve(Incoming::Tcp(listener), stop.clone()));
        Self { world, fake, holder, address, _stop: stop.drop_guard() }
    }

    async fn dial(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.fake.ca_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let details = rustls::ClientConfig::builder_with_details(provider, Arc::new(At(crate::world::NOW)));
        let mut config = details
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }

    async fn h1(&self, path: &str) -> Response<Answer> {
        let (mut send, connection) =
            http1::handshake(TokioIo::new(self.dial(b"http/1.1").await)).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::get(path).header(header::HOST, "localhost").body(Empty::<Bytes>::new()).unwrap();
        send.send_request(request).await.unwrap()
    }

    async fn h2(&self, path: &str) -> Response<Answer> {
        let io = TokioIo::new(self.dial(b"h2").await);
        let (mut send, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(format!("https://localhost{path}")).version(Version::HTTP_2);
        send.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
    }

    async fn lapse(&self) {
        self.fake.mute();
        self.world.advance(15);
        until_open(&self.holder.gate(), false).await;
    }
}

#[derive(Debug)]
struct At(i64);

impl rustls::time_provider::TimeProvider for At {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let since = std::time::Duration::from_secs(self.0.unsigned_abs());
        Some(rustls_pki_types::UnixTime::since_unix_epoch(since))
    }
}

/// Reads to the end: data after the first frame, trailers, and whether the stream broke off.
async fn rest(answer: Response<Answer>) -> (String, Option<HeaderMap>, bool) {
    let (mut body, mut text, mut trailers) = (answer.into_body(), String::new(), None);
    loop {
        match soon(body.frame()).await {
            None => return (text, trailers, false),
            Some(Err(_)) => return (text, trailers, true),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

#[tokio::test]
async fn open_streams_end_with_an_error_in_their_own_dialect() {
    let door = Door::open().await;
    let grpc = door.h2("/application/grpc").await;
    let (sse1, sse2) = (door.h1("/text/event-stream").await, door.h2("/text/event-stream").await);
    let (plain1, plain2) = (door.h1("/text/plain").await, door.h2("/text/plain").await);
    door.lapse().await;

    let (_, trailers, broken) = rest(grpc).await;
    let status = tonic::Status::from_header_map(&trailers.unwrap()).unwrap();
    assert_eq!(proto::reason_of(&status).unwrap(), "ATTESTATION_LAPSED");
    assert!(!broken);
    for sse in [sse1, sse2] {
        let (text, _, broken) = rest(sse).await;
        assert!(text.starts_with("data: {}\n\ndata: {\"error\":{"), "{text}");
        assert!(text.contains("ATTESTATION_LAPSED") && !text.contains("[DONE]") && broken, "{text}");
    }
    for plain in [plain1, plain2] {
        let (text, _, broken) = rest(plain).await;
        assert_eq!((text.as_str(), broken), ("data: {}\n\n", true));
    }
}

#[tokio::test]
async fn after_a_lapse_the_port_answers_health_only_until_there_is_a_lease_again() {
    let door = Door::open().await;
    door.lapse().await;
    assert_eq!(door.h1("/livez").await.status(), StatusCode::OK);
    let refused = door.h1("/text/plain").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(rest(refused).await.0.contains("ATTESTATION_LAPSED"));
    door.fake.answer(1000);
    until_open(&door.holder.gate(), true).await;
    assert_eq!(door.h1("/text/plain").await.status(), StatusCode::OK);
}
