//! A model server that stalls, lies and dies on command.
//!
//! It speaks OpenAI's and Ollama's dialect on one port, answers each chat request by the next
//! [`Script`], and tells the test what it saw: the requests, and which connections the peer closed.
//! Nothing sleeps: a script goes on past [`Step::Wait`] when the test says so.

mod script;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::{error::Elapsed, timeout},
};

use script::{Dialect, answer_body, models, whole_body};
pub use script::{Head, Script, Step};

/// Longest that a test waits for something to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

type Body = BoxBody<Bytes, io::Error>;

/// A running fake model server; it ends when dropped.
#[derive(Debug)]
pub struct FakeBackend {
    address: Option<SocketAddr>,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// A request, as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// Its path.
    pub path: String,
    /// Its JSON body; null where there was none.
    pub body: Value,
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<VecDeque<Script>>,
    seen: watch::Sender<Seen>,
    /// One permit for each `Step::Wait` that may be passed.
    gate: Arc<Semaphore>,
    /// Says that its models are still being loaded.
    loading: AtomicBool,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    requests: Vec<Received>,
    closed_by_peer: Vec<usize>,
}

impl FakeBackend {
    /// Listens on a free TCP port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Listens on this address.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self::run(Some(address), Listener::Tcp(listener)))
    }

    /// Listens on a unix socket at `path`. Needs a tokio runtime.
    pub fn start_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::run(None, Listener::Unix(UnixListener::bind(path)?)))
    }

    /// Its TCP address; port 0 for a unix socket.
    pub fn address(&self) -> SocketAddr {
        self.address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// `http://` and the TCP address, as `[backend] address` wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Answers one more chat request by `script`. Requests without a script get [`Script::hello`].
    pub fn script(&self, script: Script) {
        self.shared.scripts.lock().unwrap_or_else(PoisonError::into_inner).push_back(script);
    }

    /// From now on it does not list its models, as servers do while they load one; or lists them again.
    pub fn set_loading(&self, loading: bool) {
        self.shared.loading.store(loading, Ordering::SeqCst);
    }

    /// Lets running and coming scripts pass `steps` more of their [`Step::Wait`]s.
    pub fn go_on(&self, steps: usize) {
        self.shared.gate.add_permits(steps);
    }

    /// What [`Self::go_on`] opens, for whoever cannot borrow the server.
    pub fn gate(&self) -> Arc<Semaphore> {
        self.shared.gate.clone()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.seen.borrow().requests.clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.seen.borrow().connections
    }

    /// Waits for the request that is number `index`, counted from 0, and gives it.
    pub async fn received(&self, index: usize) -> Result<Received, Elapsed> {
        self.until(|seen| seen.requests.len() > index).await?;
        Ok(self.requests().swap_remove(index))
    }

    /// Waits until the peer has closed connection `connection`, counted from 0.
    pub async fn closed(&self, connection: usize) -> Result<(), Elapsed> {
        self.until(|seen| seen.closed_by_peer.contains(&connection)).await
    }

    async fn until(&self, condition: impl FnMut(&Seen) -> bool) -> Result<(), Elapsed> {
        let mut seen = self.shared.seen.subscribe();
        // The sender lives as long as `self`.
        timeout(PATIENCE, seen.wait_for(condition)).await.map(drop)
    }

    fn run(address: Option<SocketAddr>, listener: Listener) -> Self {
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            seen: watch::Sender::default(),
            gate: Arc::new(Semaphore::new(0)),
            loading: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, accepting }
    }
}

impl Drop for FakeBackend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Socket>> {
        match self {
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Connections end with this task.
async fn accept(listener: Listener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok(socket) = listener.accept().await {
        let mut number = 0;
        shared.seen.send_modify(|seen| {
            number = seen.connections;
            seen.connections += 1;
        });
        connections.spawn(serve(socket, number, shared.clone()));
    }
}

async fn serve(socket: Box<dyn Socket>, number: usize, shared: Arc<Shared>) {
    let io = TokioIo::new(Watched { socket, number, shared: shared.clone() });
    let service = service_fn(|request| answer(request, number, shared.clone()));
    // A script that dies ends the connection with an error, as it should.
    drop(http1::Builder::new().serve_connection(io, service).await);
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    shared: Arc<Shared>,
) -> Result<Response<Body>, io::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let received = Received { connection, path: path.clone(), body: body.clone() };
    shared.seen.send_modify(|seen| seen.requests.push(received));
    let dialect = match path.as_str() {
        "/v1/chat/completions" => Dialect::OpenAi,
        "/api/chat" => Dialect::Ollama,
        _ if shared.loading.load(Ordering::SeqCst) => {
            return Ok(response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", full("loading")));
        }
        _ => return Ok(other_paths(&path)),
    };
    let next = shared.scripts.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let script = next.unwrap_or_else(Script::hello);
    match script.head {
        Head::Ok => {}
        Head::Wait => pass(&shared.gate).await,
        Head::Never => std::future::pending().await,
        Head::Die => return Err(io::Error::other("the script dies")),
        Head::Status(status) => return Ok(refusal(dialect, status, &body)),
    }
    if !dialect.streams(&body) {
        let body = whole_body(script.steps, dialect, shared.gate.clone());
        return Ok(response(StatusCode::OK, "application/json", body));
    }
    let body = answer_body(script.steps, dialect, shared.gate.clone());
    Ok(response(StatusCode::OK, dialect.content_type(), body))
}

/// Waits until the test lets one more step pass.
async fn pass(gate: &Semaphore) {
    match gate.acquire().await {
        Ok(permit) => permit.forget(),
        // Nobody closes the gate.
        Err(_) => std::future::pending().await,
    }
}

fn other_paths(path: &str) -> Response<Body> {
    match path {
        "/v1/models" | "/api/tags" => json(StatusCode::OK, &models(path)),
        "/" | "/health" => response(StatusCode::OK, "text/plain", full("fake")),
        _ => response(StatusCode::NOT_FOUND, "text/plain", full("404 page not found")),
    }
}

/// Model servers repeat the prompt in their complaints, so this one does.
fn refusal(dialect: Dialect, status: StatusCode, request: &Value) -> Response<Body> {
    json(status, &dialect.refusal(status, &format!("cannot work on {request}")))
}

fn json(status: StatusCode, body: &Value) -> Response<Body> {
    response(status, "application/json", full(body.to_string()))
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// A socket that notes when the peer has closed it.
struct Watched {
    socket: Box<dyn Socket>,
    number: usize,
    shared: Arc<Shared>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        if read.is_err() || buffer.filled().len() == before {
            let number = self.number;
            self.shared.seen.send_modify(|seen| seen.closed_by_peer.push(number));
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
