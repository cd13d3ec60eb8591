//! A model server whose answers go on until it is told to end them, and say when each piece was made.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use service_runtime::{Clock, SystemClock};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// What a prompt says that wants an answer without end.
pub(crate) const ENDLESS: &str = "endless";
/// Between the pieces of such an answer.
const PACE: Duration = Duration::from_secs(2);
const MODELS: &str =
    r#"{"object":"list","data":[{"id":"fake","object":"model","created":0,"owned_by":"e2e"}]}"#;

/// The running server; it ends with the program.
pub(crate) struct ModelServer {
    pub(crate) address: SocketAddr,
    end: Arc<watch::Sender<()>>,
}

impl ModelServer {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, end) = (listener.local_addr()?, Arc::new(watch::Sender::new(())));
        tokio::spawn(serve(listener, Arc::clone(&end)));
        Ok(Self { address, end })
    }

    /// Every answer that goes on comes to its proper end.
    pub(crate) fn end_answers(&self) {
        self.end.send_replace(());
    }
}

async fn serve(listener: TcpListener, end: Arc<watch::Sender<()>>) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let end = Arc::clone(&end);
        let service = service_fn(move |request| answer(request, end.subscribe()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

type Body = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn answer(
    request: Request<Incoming>,
    end: watch::Receiver<()>,
) -> Result<Response<Body>, hyper::Error> {
    let prompt = request.into_body().collect().await?.to_bytes();
    let (kind, pieces) = if prompt.is_empty() {
        ("application/json", stream::iter([MODELS.to_owned()]).boxed())
    } else {
        let endless = prompt.windows(ENDLESS.len()).any(|part| part == ENDLESS.as_bytes());
        (
            "text/event-stream",
            if endless { until_told(end).boxed() } else { stream::iter([piece()]).chain(last()).boxed() },
        )
    };
    let frames = pieces.map(|piece| Ok(Frame::data(Bytes::from(piece)))).boxed();
    let mut response = Response::new(StreamBody::new(frames));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    Ok(response)
}

fn until_told(mut end: watch::Receiver<()>) -> impl Stream<Item = String> {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ticks = stream::unfold(ticks, |mut ticks| async {
        ticks.tick().await;
        Some((piece(), ticks))
    });
    ticks.take_until(async move { end.changed().await }).chain(last())
}

/// A piece whose text is when it was made, in nanoseconds since the machine started.
fn piece() -> String {
    chunk(&format!("{{\"content\":\"{} \"}}", SystemClock.boot().as_nanos()), "null")
}

fn last() -> impl Stream<Item = String> + Send {
    stream::iter([chunk("{}", "\"stop\"") + "data: [DONE]\n\n"])
}

fn chunk(delta: &str, finish_reason: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"fake\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish_reason}}}]}}\n\n"
    )
}
