//! One HTTP/2 connection over mutual TLS, made when it is needed and anew when it is gone.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use mtls::{Material, Role, no_name};
use service_runtime::{TaskTracker, propagate};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::body::Body;

/// For connection and handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// Between pings, and for the answer to each.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A channel to one service of this CVM; a cheap handle.
#[derive(Clone)]
pub(crate) struct MutualChannel {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    peer: Role,
    material: Material,
    tracker: TaskTracker,
    current: Mutex<Option<SendRequest<Body>>>,
}

impl MutualChannel {
    /// To `peer` at `address`, with whatever `material` holds when a connection is made.
    pub(crate) fn new(address: SocketAddr, peer: Role, material: Material, tracker: TaskTracker) -> Self {
        Self { shared: Arc::new(Shared { address, peer, material, tracker, current: Mutex::default() }) }
    }
}

impl fmt::Debug for MutualChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualChannel").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl tower::Service<Request<Body>> for MutualChannel {
    type Response = Response<Incoming>;
    type Error = axum::BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, axum::BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), axum::BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        propagate(request.headers_mut());
        let shared = self.shared.clone();
        Box::pin(async move {
            let mut connection = shared.connection().await?;
            *request.uri_mut() = shared.absolute(request.uri())?;
            Ok(connection.send_request(request).await?)
        })
    }
}

impl Shared {
    /// The connection, ready. Callers wait for one another, so that there is only ever one.
    async fn connection(&self) -> Result<SendRequest<Body>, axum::BoxError> {
        let mut current = self.current.lock().await;
        if let Some(open) = current.as_mut()
            && open.ready().await.is_ok()
        {
            return Ok(open.clone());
        }
        *current = None;
        let made = timeout(CONNECT, self.connect()).await??;
        Ok(current.insert(made).clone())
    }

    async fn connect(&self) -> Result<SendRequest<Body>, axum::BoxError> {
        let tls =
            self.material.client_config(self.peer).ok_or_else(|| io::Error::other("no identity yet"))?;
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(tls).connect(no_name(), stream).await?;
        let (send, connection) = http2::Builder::new(Tracked(self.tracker.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await?;
        // Its error reaches whoever uses the connection.
        self.tracker.spawn(async { drop(connection.await) });
        Ok(send)
    }

    fn absolute(&self, uri: &Uri) -> Result<Uri, http::Error> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Uri::builder().scheme("https").authority(self.address.to_string()).path_and_query(path).build()
    }
}

/// Tasks of a connection, owned by the service.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tracked {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
