//! HTTP/2 connections that this service makes to others of the CVM, and whose end it controls.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use service_runtime::{CancellationToken, TaskTracker};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;
use tower::Service;

use crate::goaway::Watched;

/// Between pings, and for the answer to each.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// What a stream may send ahead of its reader.
const STREAM_WINDOW: u32 = 128 << 10;
/// Enough for the windows of 512 streams: readers that stop hold up themselves and nobody else.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// A connection. It is cut when the last clone is dropped: nothing of it lingers on, so that the
/// other side sees this holder gone before it sees the next one.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    send: http2::SendRequest<Body>,
    told_to_go: CancellationToken,
    _cut: Arc<Cut>,
}

#[derive(Debug)]
struct Cut(CancellationToken);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Connection {
    /// Speaks HTTP/2 over `io`; its tasks belong to `tracker`.
    pub(crate) async fn open<IO>(io: IO, tracker: &TaskTracker) -> hyper::Result<Self>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (cut, told_to_go) = (CancellationToken::new(), CancellationToken::new());
        let tasks = Tasks { tracker: tracker.clone(), cut: cut.clone() };
        let (send, connection) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(Watched::new(io, told_to_go.clone())))
            .await?;
        tasks.execute(connection);
        Ok(Self { send, told_to_go, _cut: Arc::new(Cut(cut)) })
    }

    /// Whether the other side takes no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.send.is_closed() || self.told_to_go.is_cancelled()
    }

    /// Resolves when the other side asks for no more requests; those under way go on.
    pub(crate) fn told_to_go(&self) -> WaitForCancellationFutureOwned {
        self.told_to_go.clone().cancelled_owned()
    }

    /// Sends a request; gives it back where not a byte of it was sent.
    pub(crate) async fn try_send(
        &mut self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        *request.uri_mut() = absolute(request.uri());
        self.send.try_send_request(request).await
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.send.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        *request.uri_mut() = absolute(request.uri());
        Box::pin(self.send.send_request(request))
    }
}

/// HTTP/2 wants an authority. Services of the CVM are known by socket or SPIFFE ID, so it says nothing.
fn absolute(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme("https").authority("cvm.internal").path_and_query(path).build();
    uri.unwrap_or_default()
}

#[derive(Clone, Debug)]
struct Tasks {
    tracker: TaskTracker,
    cut: CancellationToken,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let cut = self.cut.clone();
        self.tracker.spawn(async move { cut.run_until_cancelled(task).await.is_some() });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::Router;
    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::BodyExt;
    use hyper_util::{rt::TokioExecutor, server::conn::auto, service::TowerToHyperService};

    use super::*;

    /// `/flood` sends for ever, everything else a word.
    fn server() -> Router {
        let flood = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[0; 16384])));
        Router::new()
            .route("/flood", axum::routing::get(|| async { axum::body::Body::from_stream(flood) }))
            .fallback(|| async { "here" })
    }

    fn get(path: &'static str) -> Request<Body> {
        Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn readers_that_stop_hold_up_nobody_else() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let serving = auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move {
            let served = serving.serve_connection(TokioIo::new(far), TowerToHyperService::new(server()));
            served.await.map_err(drop)
        });
        let mut connection = Connection::open(near, &TaskTracker::new()).await.unwrap();
        let mut unread = Vec::new();
        for _ in 0..100 {
            unread.push(connection.try_send(get("/flood")).await.unwrap());
        }
        let answer =
            async { connection.try_send(get("/")).await.unwrap().collect().await.unwrap().to_bytes() };
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        assert_eq!(answer.unwrap(), "here");
    }
}
