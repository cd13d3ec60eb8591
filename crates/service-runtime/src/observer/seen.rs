//! One request, from its head to its answer's last byte or to where it broke off.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use proto::reason::Reason;
use tokio::time::Instant;
use tonic::Status;
use tracing::Span;

use super::{Observer, Refused};
use crate::metrics::Held;

/// Names the request in answers and logs.
const REQUEST_ID: &str = "cube-request-id";
/// Prefixes of routes that probes ask every few seconds.
const PROBES: [&str; 4] = ["/grpc.health.v1.", "/livez", "/readyz", "/metrics"];

/// A request under way. It is told of when this is dropped.
#[derive(Debug)]
pub(crate) struct Seen {
    observer: Observer,
    route: &'static str,
    span: Span,
    since: Instant,
    sent: u64,
    code: &'static str,
    outcome: Outcome,
    reason: &'static str,
    _in_flight: Held,
}

/// How a request ended, or where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nobody waited for the end of its answer.
    Left,
    /// A whole answer.
    Ok,
    /// A refusal, or an answer that broke off.
    Error,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl Seen {
    pub(super) fn new(observer: Observer, route: &'static str, span: Span, in_flight: Held) -> Self {
        Self {
            observer,
            route,
            span,
            since: Instant::now(),
            sent: 0,
            code: "",
            outcome: Outcome::Left,
            reason: "",
            _in_flight: in_flight,
        }
    }

    /// Within which the request is worked on.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The head of the answer.
    pub(crate) fn answered<B: Body>(&mut self, response: &Response<B>) {
        self.code = http_code(response.status());
        if let Some(id) = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
            self.span.record("request_id", id);
        }
        if let Some(Refused(reason)) = response.extensions().get() {
            self.reason = reason;
        }
        self.grpc_end(response.headers());
        if response.body().is_end_stream() {
            self.ended();
        }
    }

    /// The next frame of the answer's body, or its end.
    pub(crate) fn frame<E>(&mut self, frame: Option<&Result<Frame<Bytes>, E>>)
    where
        E: std::error::Error + 'static,
    {
        match frame {
            None => self.ended(),
            Some(Ok(frame)) => {
                self.sent += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                if let Some(trailers) = frame.trailers_ref() {
                    self.grpc_end(trailers);
                }
            }
            Some(Err(error)) => self.broke(error),
        }
    }

    /// The body has said its last without an error.
    pub(crate) fn ended(&mut self) {
        if self.outcome == Outcome::Left {
            self.outcome = if self.code.starts_with(['4', '5']) { Outcome::Error } else { Outcome::Ok };
        }
    }

    fn grpc_end(&mut self, headers: &HeaderMap<HeaderValue>) {
        if !headers.contains_key(Status::GRPC_STATUS) {
            return;
        }
        if let Some(status) = Status::from_header_map(headers) {
            self.status(&status);
        }
    }

    fn broke(&mut self, error: &(dyn std::error::Error + 'static)) {
        self.outcome = Outcome::Error;
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(status) = error.downcast_ref::<Status>() {
                self.reason = reason(status);
                return;
            }
            cause = error.source();
        }
    }

    fn status(&mut self, status: &Status) {
        self.code = grpc_code(status.code());
        self.outcome = if status.code() == tonic::Code::Ok { Outcome::Ok } else { Outcome::Error };
        self.reason = reason(status);
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let (listener, took) = (self.observer.0.listener, self.since.elapsed());
        let metrics = &self.observer.0.metrics;
        let outcome = self.outcome.name();
        metrics.requests.add([listener, self.route, self.code, outcome, self.reason], 1);
        metrics.duration.observe([listener, self.route], took.as_secs_f64());
        if self.outcome == Outcome::Error {
            self.span.record("otel.status_code", "ERROR");
        }
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (route, code, reason, sent) = (self.route, self.code, self.reason, self.sent);
        let _in_span = self.span.enter();
        if PROBES.iter().any(|probe| route.starts_with(probe)) {
            tracing::debug!(target: "access", route, code, outcome, reason, ms, sent, "request");
        } else {
            tracing::info!(target: "access", route, code, outcome, reason, ms, sent, "request");
        }
    }
}

fn reason(status: &Status) -> &'static str {
    proto::reason_of(status).and_then(|name| Reason::named(&name)).map_or("", |reason| reason.name)
}

/// A status in words that are ours; the rest by their class.
fn http_code(status: StatusCode) -> &'static str {
    const NAMED: [(u16, &str); 16] = [
        (200, "200"),
        (400, "400"),
        (401, "401"),
        (403, "403"),
        (404, "404"),
        (405, "405"),
        (409, "409"),
        (410, "410"),
        (413, "413"),
        (415, "415"),
        (429, "429"),
        (431, "431"),
        (500, "500"),
        (501, "501"),
        (503, "503"),
        (504, "504"),
    ];
    const CLASSES: [&str; 6] = ["", "1xx", "2xx", "3xx", "4xx", "5xx"];
    let status = status.as_u16();
    let named = NAMED.iter().find(|(code, _)| *code == status).map(|(_, name)| *name);
    named.or_else(|| CLASSES.get(usize::from(status / 100)).copied()).unwrap_or_default()
}

fn grpc_code(code: tonic::Code) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(i32::from(code)).ok().and_then(|at| NAMES.get(at).copied()).unwrap_or_default()
}
