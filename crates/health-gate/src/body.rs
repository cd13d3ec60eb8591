//! An answer's body that ends with the leave to serve it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use crate::gate::{Lapsed, ServingPermit};

/// Leave to serve, checked frame by frame.
pub(crate) trait Leave: Unpin {
    /// Why there is leave no more, where there is not.
    fn check(&self) -> Result<(), Status>;
    /// Resolves when there is leave no more.
    fn over(&self) -> Over;
}

pub(crate) type Over = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Leave for ServingPermit {
    fn check(&self) -> Result<(), Status> {
        Ok(Self::check(self)?)
    }

    fn over(&self) -> Over {
        Box::pin(self.lapse())
    }
}

/// A body that checks its leave before each frame, and ends with an error in its own dialect when
/// the leave is over, idle or not.
pub(crate) struct GatedBody<B, L = ServingPermit> {
    /// Dropped when cut, so that whatever feeds it is cancelled.
    inner: Option<B>,
    leave: L,
    over: Over,
    dialect: Dialect,
    /// Whether the bytes so far end where an event may start.
    at_boundary: bool,
    abort: Option<(Pin<Box<Sleep>>, Status)>,
}

/// Between an error text and the abort of the body. An aborted transport forgets what it has queued,
/// and says nothing of what has left; on a busy machine that takes its time. The caller has the text
/// by then, and waits for nothing else.
pub const FLUSH: Duration = Duration::from_secs(1);

impl<B, L: Leave> GatedBody<B, L> {
    pub(crate) fn new(inner: B, leave: L, dialect: Dialect) -> Self {
        let over = leave.over();
        Self { inner: Some(inner), leave, over, dialect, at_boundary: true, abort: None }
    }

    /// Ends the body: the last frame, or the error where the dialect has no words for it.
    fn cut(&mut self, status: Status) -> Result<Frame<Bytes>, BoxError> {
        self.inner = None;
        match self.dialect {
            Dialect::Grpc => Ok(Frame::trailers(trailers(&status))),
            Dialect::Plain => Err(status.into()),
            Dialect::Sse | Dialect::Ndjson => {
                let text = self.dialect.error_event(&status, self.at_boundary);
                self.abort = Some((Box::pin(tokio::time::sleep(FLUSH)), status));
                Ok(Frame::data(text.into()))
            }
        }
    }

    fn poll_abort(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some((flush, _)) = &mut self.abort else {
            return Poll::Ready(None);
        };
        ready!(flush.as_mut().poll(cx));
        Poll::Ready(self.abort.take().map(|(_, status)| Err(status.into())))
    }
}

impl<B, L> Body for GatedBody<B, L>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    L: Leave,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return this.poll_abort(cx);
        };
        if let Err(status) = this.leave.check() {
            return Poll::Ready(Some(this.cut(status)));
        }
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            if let Some(Some(data)) =
                frame.as_ref().and_then(|frame| frame.as_ref().ok()).map(Frame::data_ref)
            {
                this.at_boundary = this.dialect.is_boundary(data);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(this.over.as_mut().poll(cx));
        // A leave that is over is never given back, so the check fails; if it did not, this refuses.
        let status = this.leave.check().err().unwrap_or_else(|| Lapsed.into());
        Poll::Ready(Some(this.cut(status)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Some(inner) => inner.is_end_stream(),
            None => self.abort.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl<B, L> fmt::Debug for GatedBody<B, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedBody").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

/// How a message says that something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// In its trailers.
    Grpc,
    /// In a last event, and then the body is aborted.
    Sse,
    /// In a last line, and then the body is aborted.
    Ndjson,
    /// Only by being aborted.
    Plain,
}

impl Dialect {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let known: [(&[u8], Self); 3] = [
            (b"application/grpc", Self::Grpc),
            (b"text/event-stream", Self::Sse),
            (b"application/x-ndjson", Self::Ndjson),
        ];
        let found = known.into_iter().find(|(name, _)| content_type.starts_with(name));
        found.map_or(Self::Plain, |(_, dialect)| dialect)
    }

    fn is_boundary(self, data: &[u8]) -> bool {
        match self {
            Self::Sse => data.ends_with(b"\n\n") || data.ends_with(b"\r\n\r\n"),
            Self::Ndjson => data.ends_with(b"\n"),
            Self::Grpc | Self::Plain => true,
        }
    }

    fn error_event(self, status: &Status, at_boundary: bool) -> String {
        let gap = if at_boundary { "" } else { "\n\n" };
        if self == Self::Sse {
            return format!("{gap}data: {}\n\n", error_object(status));
        }
        // Ollama's shape.
        format!("{gap}{{\"error\":{}}}\n", json_text(status.message()))
    }
}

/// OpenAI's error body.
pub(crate) fn error_object(status: &Status) -> String {
    let reason = proto::reason_of(status).unwrap_or_else(|| proto::reason::INTERNAL.to_owned());
    let message = json_text(status.message());
    format!(
        "{{\"error\":{{\"message\":{message},\"type\":\"service_unavailable\",\"param\":null,\"code\":\"{reason}\"}}}}"
    )
}

/// A JSON string of one of our own messages, which hold no control characters.
fn json_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Our details are base64 of a small message; should they not fit a header, the code alone goes.
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
    }
    trailers
}
