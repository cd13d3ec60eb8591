//! A key server on a real port, over TLS or in the clear, that does what it is told.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// How it answers.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    /// With what it has, and 404 for what it has not.
    Honest,
    /// With 429, and this `Retry-After`.
    Throttling(Option<&'static str>),
    /// With this status, and HTML.
    Refusing(StatusCode),
    /// With these bytes, whatever is asked for.
    Lying(Vec<u8>),
    /// Never.
    Stalling,
    /// With a body that never ends.
    Endless,
    /// With a body of which the last bytes never come.
    Dripping,
    /// By breaking the connection off.
    Dead,
}

/// A running server; it ends when this is dropped.
pub(crate) struct FakeKds {
    address: SocketAddr,
    /// What its certificate chains to, where it speaks TLS.
    pub(crate) ca_pem: Option<String>,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    has: HashMap<String, Vec<u8>>,
    mood: Mood,
    asked: Vec<String>,
}

impl FakeKds {
    pub(crate) async fn start() -> Self {
        Self::serve(None, None).await
    }

    pub(crate) async fn start_with_tls() -> Self {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = issued.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config))), Some(issued.cert.pem())).await
    }

    async fn serve(tls: Option<TlsAcceptor>, ca_pem: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { has: HashMap::new(), mood: Mood::Honest, asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, tls, Arc::clone(&state)));
        Self { address, ca_pem, state, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        let port = self.address.port();
        match self.ca_pem {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        }
    }

    /// From now on it has `bytes` at `path`, which begins with a slash.
    pub(crate) fn put(&self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().has.insert(path.into(), bytes.into());
    }

    /// What it has at `path`.
    pub(crate) fn has(&self, path: &str) -> Vec<u8> {
        self.state.lock().unwrap().has.get(path).unwrap().clone()
    }

    pub(crate) fn is(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Paths that were asked for since the last call, with their queries.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                Some(tls) => {
                    // A client that trusts another CA leaves.
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, state).await;
                    }
                }
                None => connection(stream, state).await,
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(|request: Request<Incoming>| answer(request, Arc::clone(&state)));
    // A client may leave, and a mood may break off.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> std::io::Result<Response<Body>> {
    let path = request.uri().path_and_query().unwrap().to_string();
    let (mood, found) = {
        let mut state = state.lock().unwrap();
        state.asked.push(path.clone());
        (state.mood.clone(), state.has.get(&path).cloned())
    };
    let response = Response::builder();
    let response = match mood {
        Mood::Honest => match found {
            Some(bytes) => response.body(full(bytes)),
            None => html(StatusCode::NOT_FOUND),
        },
        Mood::Throttling(after) => {
            let response = response.status(StatusCode::TOO_MANY_REQUESTS);
            let headers = after.map(|after| (header::RETRY_AFTER, after));
            headers
                .into_iter()
                .fold(response, |response, (name, value)| response.header(name, value))
                .body(full(Vec::new()))
        }
        Mood::Refusing(status) => html(status),
        Mood::Lying(bytes) => response.body(full(bytes)),
        Mood::Stalling => std::future::pending().await,
        Mood::Endless => {
            let chunk = || Ok(Frame::data(Bytes::from_static(&[0x30; 4096])));
            response.body(BodyExt::boxed(StreamBody::new(stream::repeat_with(chunk).map(still_sync))))
        }
        Mood::Dripping => {
            let response = response.header(header::CONTENT_LENGTH, "2000");
            let first = stream::iter([Ok(Frame::data(Bytes::from_static(&[0x30; 10])))]);
            response.body(BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))))
        }
        Mood::Dead => return Err(std::io::ErrorKind::ConnectionReset.into()),
    };
    Ok(response.unwrap())
}

/// What type the frames have.
fn still_sync(frame: Result<Frame<Bytes>, Infallible>) -> Result<Frame<Bytes>, Infallible> {
    frame
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).boxed()
}

fn html(status: StatusCode) -> http::Result<Response<Body>> {
    Response::builder().status(status).body(full(b"<html><body>a page for people</body></html>".to_vec()))
}
