//! A model server that has its answer ready, in OpenAI's dialect.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{Instant as Timer, sleep_until},
};

/// Pieces of text in a stream; the end is one frame more.
pub(crate) const PIECES: u32 = 50;
/// Between the pieces of a paced stream.
pub(crate) const PACE: Duration = Duration::from_millis(20);

/// The running server; it ends with the program.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// Pieces say how long after this they were made.
    pub(crate) started: Instant,
    pace: Arc<AtomicU64>,
}

impl Backend {
    pub(crate) async fn start(started: Instant) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, pace) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        tokio::spawn(serve(listener, started, Arc::clone(&pace)));
        Ok(Self { address, started, pace })
    }

    /// Streams that begin from now on wait so long before each piece.
    pub(crate) fn pace(&self, pace: Duration) {
        self.pace.store(u64::try_from(pace.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

async fn serve(listener: TcpListener, started: Instant, pace: Arc<AtomicU64>) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let pace = Arc::clone(&pace);
        let service = service_fn(move |request| {
            let pace = Duration::from_millis(pace.load(Ordering::SeqCst));
            answer(request, started, pace)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    started: Instant,
    pace: Duration,
) -> Result<Response<StreamBody<impl Stream<Item = Result<Frame<Bytes>, Infallible>>>>, hyper::Error> {
    let asked = request.method() == Method::POST;
    let body = request.into_body().collect().await?.to_bytes();
    let streamed = body.windows(6).any(|window| window == b"stream")
        && !body.windows(14).any(|window| window == b"\"stream\":false");
    let first = Timer::now();
    let frames = stream::unfold(0, move |at| async move {
        if !streamed {
            let whole = if asked { WHOLE } else { MODELS };
            return (at == 0).then(|| (Ok(Frame::data(Bytes::from_static(whole.as_bytes()))), 1));
        }
        if at > PIECES {
            return None;
        }
        if !pace.is_zero() {
            sleep_until(first + pace * at).await;
        }
        let frame = if at < PIECES { piece(started.elapsed().as_nanos()) } else { end() };
        Some((Ok(Frame::data(Bytes::from(frame))), at + 1))
    });
    let mut response = Response::new(StreamBody::new(Box::pin(frames)));
    let kind = if streamed { "text/event-stream; charset=utf-8" } else { "application/json" };
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// To those who look whether it is there, and what it has.
const MODELS: &str =
    r#"{"object":"list","data":[{"id":"bench","object":"model","created":0,"owned_by":"bench"}]}"#;

/// A whole answer.
const WHOLE: &str = r#"{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"Gravity pulls what has mass together."},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;

/// A piece whose text is when it was made.
fn piece(made: u128) -> String {
    chunk(&format!("{{\"content\":\"{made} \"}}"), "null")
}

fn end() -> String {
    chunk("{}", "\"stop\"") + "data: [DONE]\n\n"
}

fn chunk(delta: &str, finish_reason: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"bench\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish_reason}}}]}}\n\n"
    )
}
