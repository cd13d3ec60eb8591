//! Clients of the public listener. Dropping one closes its connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use service_runtime::EXPORTER_LABEL;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::body::Body;
use tower::util::BoxCloneService;

use crate::world::World;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A tower service for generated clients.
pub(crate) type Channel = BoxCloneService<Request<Body>, Response<Incoming>, hyper::Error>;

/// A gRPC connection.
pub(crate) struct Grpc {
    pub(crate) channel: Channel,
    pub(crate) exporter: [u8; 32],
    driver: JoinHandle<()>,
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// `caller` is the SPIFFE ID in the client's certificate, if it shows one.
async fn connect(world: &World, alpn: &[u8], caller: Option<&str>) -> (TlsStream<TcpStream>, [u8; 32]) {
    let mut roots = RootCertStore::empty();
    roots.add(world.certificate.clone()).unwrap();
    let mut config = match caller {
        Some(id) => world.workloads.client(roots, id),
        None => ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(world.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
    (stream, exporter)
}

impl Grpc {
    pub(crate) async fn new(world: &World) -> Self {
        Self::of(world, None).await
    }

    pub(crate) async fn of(world: &World, caller: Option<&str>) -> Self {
        let (stream, exporter) = connect(world, b"h2", caller).await;
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake::<_, Body>(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        let send = tower::service_fn(move |mut request: Request<Body>| {
            let path = request.uri().path().to_owned();
            *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
            sender.clone().send_request(request)
        });
        Self { channel: BoxCloneService::new(send), exporter, driver }
    }
}

/// An HTTP connection.
pub(crate) struct Http {
    sender: Sender,
    pub(crate) exporter: [u8; 32],
    driver: JoinHandle<()>,
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Drop for Http {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A whole answer, and whether its body ended as it should.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
    pub(crate) complete: bool,
}

impl Answered {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// `error.code` of the body.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Http {
    pub(crate) async fn h1(world: &World) -> Self {
        Self::h1_of(world, None).await
    }

    pub(crate) async fn h1_of(world: &World, caller: Option<&str>) -> Self {
        let (stream, exporter) = connect(world, b"http/1.1", caller).await;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { sender: Sender::H1(sender), exporter, driver }
    }

    pub(crate) async fn h2(world: &World) -> Self {
        let (stream, exporter) = connect(world, b"h2", None).await;
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { sender: Sender::H2(sender), exporter, driver }
    }

    /// Both kinds.
    pub(crate) async fn both(world: &World) -> [Self; 2] {
        [Self::h1(world).await, Self::h2(world).await]
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let sending = async {
            match &mut self.sender {
                Sender::H1(sender) => {
                    sender.ready().await.unwrap();
                    sender.send_request(request).await.unwrap()
                }
                Sender::H2(sender) => sender.send_request(request).await.unwrap(),
            }
        };
        timeout(PATIENCE, sending).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answered {
        let request = self.request("GET", path).body(Full::default()).unwrap();
        whole(self.send(request).await).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Response<Incoming> {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        match self.sender {
            Sender::H1(_) => builder.uri(path).header("host", "localhost"),
            Sender::H2(_) => builder.uri(format!("https://localhost{path}")),
        }
    }
}

pub(crate) async fn whole(response: Response<Incoming>) -> Answered {
    let (parts, mut incoming) = response.into_parts();
    let (mut body, mut complete) = (Vec::new(), true);
    let reading = async {
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else {
                complete = false;
                break;
            };
            body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    let body = String::from_utf8(body).unwrap();
    Answered { status: parts.status.as_u16(), headers: parts.headers, body, complete }
}
