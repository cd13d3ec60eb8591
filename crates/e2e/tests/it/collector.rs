//! A collector of spans over OTLP/HTTP and TLS.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A running collector.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    /// What its certificate chains to.
    pub(crate) ca_pem: String,
    exports: Arc<Mutex<Vec<Bytes>>>,
    _accepting: JoinSet<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = issued.signing_key.serialize_der().try_into().unwrap();
        mtls::install_crypto_provider();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![issued.cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, exports) = (listener.local_addr().unwrap(), Arc::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&exports)));
        Self { address, ca_pem: issued.cert.pem(), exports, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/v1/traces", self.address.port())
    }

    /// Everything that came, as it came.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.exports.lock().unwrap().concat()
    }

    /// Every span, with the service that made it.
    pub(crate) fn spans(&self) -> Vec<(String, Span)> {
        let exports = self.exports.lock().unwrap().clone();
        let requests = exports.into_iter().map(|bytes| ExportTraceServiceRequest::decode(bytes).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        resources
            .flat_map(|resource| {
                let attributes = resource.resource.unwrap().attributes;
                let name = attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
                let service = format!("{:?}", name.value);
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.map(move |span| (service.clone(), span)).collect::<Vec<_>>()
            })
            .collect()
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, exports: Arc<Mutex<Vec<Bytes>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, tls.clone(), Arc::clone(&exports)));
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, exports: Arc<Mutex<Vec<Bytes>>>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(|request: Request<Incoming>| async {
        assert_eq!(request.uri().path(), "/v1/traces");
        let body = request.into_body().collect().await?.to_bytes();
        exports.lock().unwrap().push(body);
        Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
    });
    // A service that ends closes its connection as it likes.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
