//! One HTTP/1.1 exchange with the model server, on a connection of its own.
//!
//! Nothing is spawned: the connection is driven by whoever waits for the answer, and dropping the
//! exchange, or the future that opens it, closes the socket at once. That is what stops the model
//! server's work, in the silence before the first token too. HTTP/1.1 because closing a
//! connection then ends exactly one request.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use service_runtime::BackendAddress;
use tokio::time::{Instant, timeout_at};

use crate::{
    dial::{Endpoint, Socket, dial},
    error::{BackendError, Phase},
    model_server::AnswerLimits,
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

/// An answer under way.
pub(crate) struct Exchange<P> {
    status: StatusCode,
    content_type: String,
    body: Incoming,
    wire: Wire,
    permit: P,
}

/// The connection, for as long as there is something to drive.
struct Wire {
    connection: Option<Pin<Box<Driver>>>,
    /// Dropping it would tell the connection that nobody needs it.
    sender: SendRequest<Full<Bytes>>,
}

type Driver = Connection<TokioIo<Socket>, Full<Bytes>>;

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
        endpoint: &Endpoint,
        ask: Ask,
        permit: P,
        limits: &AnswerLimits,
        until: Until,
    ) -> Result<Self, BackendError> {
        let begin = begin(endpoint, request(&endpoint.address, ask)?, &permit, limits);
        let (response, wire) = with_leave(&permit, until, begin).await??;
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        Ok(Self { status: head.status, content_type, body, wire, permit })
    }

    pub(crate) fn content_type(&self) -> &str {
        &self.content_type
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The next bytes of the body, or `None` at its end.
    pub(crate) async fn chunk(&mut self, until: Until) -> Result<Option<Bytes>, BackendError> {
        loop {
            let frame = drive(&mut self.wire.connection, self.body.frame());
            match with_leave(&self.permit, until, frame).await? {
                None => return Ok(None),
                Some(Err(_)) => {
                    return Err(BackendError::Truncated("the connection broke in the middle of the answer"));
                }
                // Trailers say nothing that is asked for.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body; an error where it is longer than `limit` bytes.
    pub(crate) async fn whole(mut self, limit: usize, until: Until) -> Result<Vec<u8>, BackendError> {
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

async fn begin<P: Permit>(
    endpoint: &Endpoint,
    request: Request<Full<Bytes>>,
    permit: &P,
    limits: &AnswerLimits,
) -> Result<(Response<Incoming>, Wire), BackendError> {
    let socket = dial(endpoint, permit, limits.connect).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|_| unanswered())?;
    let mut wire = Wire { connection: Some(Box::pin(connection)), sender };
    let sent = wire.sender.send_request(request);
    let response = drive(&mut wire.connection, sent).await.map_err(|error| broken_head(&error))?;
    Ok((response, wire))
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
        .header(header::CONNECTION, "close")
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

/// Waits for `work`, which makes progress only while the connection is driven.
async fn drive<C: Future, T>(connection: &mut Option<Pin<Box<C>>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        // An ended connection has told `work` how it ended.
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            *connection = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

fn unanswered() -> BackendError {
    BackendError::Unreachable("it closed the connection without an answer")
}

fn broken_head(error: &hyper::Error) -> BackendError {
    if error.is_parse() { BackendError::Protocol("an answer that is not HTTP/1.1") } else { unanswered() }
}
