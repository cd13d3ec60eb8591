//! One HTTP/1.1 exchange with the model server, which has its connection to itself until it is over.
//!
//! Nothing is spawned: the connection is driven by whoever waits for the answer, and dropping the
//! exchange, or the future that opens it, closes the socket at once. That is what stops the model
//! server's work, in the silence before the first token too. HTTP/1.1 because closing a
//! connection then ends exactly one request.

use std::{fmt, pin::pin, task::Poll};

use bytes::{Bytes, BytesMut};
use futures_util::poll;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use service_runtime::BackendAddress;
use tokio::time::{Instant, timeout_at};

use crate::{
    dial::dial,
    error::{BackendError, Phase},
    line::{Kept, Line},
    model_server::ModelServer,
    permit::Permit,
};

/// What is asked of the model server.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) content_type: HeaderValue,
    pub(crate) body: Bytes,
}

/// The media type of almost every request.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Bytes of an answer from which on no more are waited for, however many are there.
const AT_ONCE: usize = 16 << 10;

/// An answer under way.
pub(crate) struct Exchange<P> {
    status: StatusCode,
    content_type: String,
    body: Incoming,
    /// The end of the body, where it was seen behind bytes that came first.
    end: Option<Result<(), BackendError>>,
    line: Line,
    permit: P,
}

/// Until when to wait, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    pub(crate) at: Instant,
    pub(crate) phase: Phase,
}

impl<P> fmt::Debug for Exchange<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("status", &self.status).finish_non_exhaustive()
    }
}

impl<P: Permit> Exchange<P> {
    /// Sends `ask` and waits for the head of the answer.
    pub(crate) async fn open(
        server: &ModelServer,
        ask: Ask,
        permit: P,
        until: Until,
    ) -> Result<Self, BackendError> {
        let begin = begin(server, request(&server.endpoint.address, ask)?, &permit);
        let (response, line) = with_leave(&permit, until, begin).await??;
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        Ok(Self { status: head.status, content_type, body, end: None, line, permit })
    }

    pub(crate) fn content_type(&self) -> &str {
        &self.content_type
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The next bytes of the body, or `None` at its end. What has come by then is taken in one go: whatever is done to
    /// the bytes further on is done once for all of them.
    pub(crate) async fn chunk(&mut self, until: Until) -> Result<Option<Bytes>, BackendError> {
        if let Some(end) = self.end.clone() {
            return end.map(|()| None);
        }
        let first = self.line.drive(data(&mut self.body));
        let Some(first) = with_leave(&self.permit, until, first).await?? else {
            self.end = Some(Ok(()));
            return Ok(None);
        };
        let mut more = BytesMut::new();
        while first.len() + more.len() < AT_ONCE
            && let Poll::Ready(next) = poll!(pin!(self.line.drive(data(&mut self.body))))
        {
            match next {
                Ok(Some(bytes)) => more.extend_from_slice(&bytes),
                end => {
                    self.end = Some(end.map(drop));
                    break;
                }
            }
        }
        Ok(Some(if more.is_empty() { first } else { [first.as_ref(), &more].concat().into() }))
    }

    /// Leaves the connection to the next exchange, if nothing of this one's answer is to come.
    pub(crate) fn leave(self, kept: &Kept) {
        if self.end == Some(Ok(())) {
            kept.put(self.line);
        }
    }

    /// The whole body; an error where it is longer than `limit` bytes.
    pub(crate) async fn whole(&mut self, limit: usize, until: Until) -> Result<Vec<u8>, BackendError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk(until).await? {
            if whole.len() + bytes.len() > limit {
                return Err(BackendError::Protocol("a short answer longer than the limit"));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }

    /// The beginning of the body, as far as it can be had.
    pub(crate) async fn beginning(mut self, limit: usize, until: Until) -> Vec<u8> {
        let mut beginning = Vec::new();
        while beginning.len() < limit
            && let Ok(Some(bytes)) = self.chunk(until).await
        {
            beginning.extend_from_slice(&bytes);
        }
        beginning.truncate(limit);
        beginning
    }
}

/// The next data of a body, or `None` at its end.
async fn data(body: &mut Incoming) -> Result<Option<Bytes>, BackendError> {
    while let Some(frame) = body.frame().await {
        let broken = |_| BackendError::Truncated("the connection broke in the middle of the answer");
        // Trailers say nothing that is asked for.
        if let Ok(bytes) = frame.map_err(broken)?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

async fn begin<P: Permit>(
    server: &ModelServer,
    request: Request<Full<Bytes>>,
    permit: &P,
) -> Result<(Response<Incoming>, Line), BackendError> {
    if let Some(mut line) = server.kept.take().await {
        match line.send(request.clone()).await {
            // It was closed at the same moment, before anything was answered.
            Err(error) if !error.is_parse() => {}
            answered => return Ok((answered.map_err(|error| broken_head(&error))?, line)),
        }
    }
    let socket = dial(&server.endpoint, permit, server.limits.connect).await?;
    let mut line = Line::over(socket).await.map_err(|_| unanswered())?;
    Ok((line.send(request).await.map_err(|error| broken_head(&error))?, line))
}

fn request(address: &BackendAddress, ask: Ask) -> Result<Request<Full<Bytes>>, BackendError> {
    let host = match address {
        BackendAddress::Tcp(address) => address.to_string(),
        BackendAddress::Unix(_) => "localhost".to_owned(),
    };
    Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, ask.content_type)
        .body(Full::new(ask.body))
        .map_err(|_| BackendError::Unreachable("its address makes no valid request"))
}

/// Waits for `work` while there is leave, and not longer than `until`.
async fn with_leave<P: Permit, T>(
    permit: &P,
    until: Until,
    work: impl Future<Output = T>,
) -> Result<T, BackendError> {
    let done = tokio::select! {
        biased;
        () = permit.lapsed() => return Err(BackendError::Lapsed),
        done = timeout_at(until.at, work) => done.map_err(|_| BackendError::Timeout(until.phase))?,
    };
    permit.check().map_err(|_| BackendError::Lapsed)?;
    Ok(done)
}

fn unanswered() -> BackendError {
    BackendError::Unreachable("it closed the connection without an answer")
}

fn broken_head(error: &hyper::Error) -> BackendError {
    if error.is_parse() { BackendError::Protocol("an answer that is not HTTP/1.1") } else { unanswered() }
}
