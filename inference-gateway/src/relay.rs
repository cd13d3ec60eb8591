//! A request in a dialect that the model server speaks itself: passed on, and its answer passed back.
//!
//! The adapter has looked for errors, the end and token counts; here the answer is held to its limits and measured.
//! Whoever drops the future or the [`Relayed`] drops the stream from the adapter with it; nothing here is spawned.

pub(crate) mod request;

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use health_gate::ServingPermit;
use http::{HeaderValue, Response, header};
use proto::{
    backend::v1::{RelayEnd, RelayForm, RelayHead, relay_response::Part},
    inference::v1::Usage,
    reason,
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use crate::{
    callers::Caller,
    chat::{AnswerLimits, Bound, ChatMetrics, Meter, broken, callers, earlier, timed_out},
    dialect::Dialect,
    streamed::{self, Pieces},
    upstream::{Backend, PartStream, RelayCall},
};

/// Asks the backend.
#[derive(Clone)]
pub(crate) struct Relay {
    backend: Arc<dyn Backend>,
    limits: AnswerLimits,
    metrics: ChatMetrics,
}

/// What a request is, for those who watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// OpenTelemetry's name of the operation.
    pub(crate) operation: &'static str,
    /// As the caller names it; told only where the backend lists it.
    pub(crate) model: &'a str,
    /// Whose it is.
    pub(crate) caller: &'a Caller,
}

impl Relay {
    pub(crate) fn new(backend: Arc<dyn Backend>, limits: AnswerLimits, metrics: ChatMetrics) -> Self {
        Self { backend, limits, metrics }
    }

    /// Passes `call` on; resolves when the model server has accepted it.
    pub(crate) async fn ask(
        &self,
        permit: &ServingPermit,
        call: RelayCall,
        subject: Subject<'_>,
    ) -> Result<Relayed, Status> {
        let mut meter = self.metrics.begin(subject.operation, subject.caller, None);
        meter.model(subject.model);
        let streamed = call.streamed;
        let first = if streamed {
            (Instant::now() + self.limits.first_token, "first_token")
        } else {
            (Instant::now() + self.limits.unary, "unary")
        };
        let first = earlier(first, callers(call.deadline));
        let end = if call.streamed { callers(call.deadline) } else { Some(first) };
        let asked = timeout_at(first.0, self.backend.relay(permit, call)).await;
        let parts = asked.unwrap_or_else(|_| Err(timed_out(first.1)));
        let parts = parts.inspect_err(|status| meter.failed(status))?;
        let limits = self.limits.clone();
        let mut relayed =
            Relayed { parts, meter, limits, first, end, spoken: false, head: RelayHead::default() };
        relayed.head = relayed.begin().await?;
        if !streamed && relayed.head.form() != RelayForm::Whole {
            return Err(relayed.fails(broken("it streams, which it was not asked to do")));
        }
        Ok(relayed)
    }
}

/// An answer that the model server has begun.
pub(crate) struct Relayed {
    parts: PartStream,
    head: RelayHead,
    meter: Meter,
    limits: AnswerLimits,
    first: Bound,
    end: Option<Bound>,
    spoken: bool,
}

impl Relayed {
    /// As an HTTP answer in the dialect that it was asked for in.
    pub(crate) async fn respond(self, dialect: Dialect) -> Result<Response<axum::body::Body>, Status> {
        let content_type = HeaderValue::from_str(&self.head.content_type)
            .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
        let body = match self.head.form() {
            RelayForm::Events | RelayForm::Lines => streamed::body(self, dialect),
            RelayForm::Whole | RelayForm::Unspecified => self.whole().await?.into(),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// The whole of an answer that is one value.
    pub(crate) async fn whole(mut self) -> Result<Bytes, Status> {
        let mut whole = BytesMut::new();
        let json = self.head.content_type.starts_with("application/json");
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > self.limits.body {
                return Err(self.fails(broken("it is larger than the limit")));
            }
            whole.extend_from_slice(&piece);
        }
        if json {
            let told: Told = serde_json::from_slice(&whole)
                .map_err(|_| self.fails(broken("it is cut, or no JSON object")))?;
            if let Some(usage) = told.usage() {
                self.meter.usage(usage);
            }
        }
        Ok(whole.freeze())
    }

    async fn begin(&mut self) -> Result<RelayHead, Status> {
        match self.part().await? {
            Some(Part::Head(head)) => Ok(head),
            _ => Err(self.fails(broken("it has no beginning"))),
        }
    }

    async fn part(&mut self) -> Result<Option<Part>, Status> {
        let (until, phase) = self.patience();
        let next = match timeout_at(until, self.parts.next()).await {
            Err(_) => Err(timed_out(phase)),
            Ok(next) => next.transpose(),
        };
        next.map_err(|status| self.fails(status))
    }

    fn patience(&self) -> Bound {
        let own = if self.spoken && self.head.form() != RelayForm::Whole {
            (Instant::now() + self.limits.stream_idle, "stream_idle")
        } else {
            self.first
        };
        earlier(own, self.end)
    }

    fn fails(&mut self, status: Status) -> Status {
        self.meter.failed(&status);
        status
    }
}

impl Pieces for Relayed {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        match self.part().await? {
            Some(Part::Body(piece)) => {
                self.spoken = true;
                self.meter.piece();
                Ok(Some(piece))
            }
            Some(Part::End(RelayEnd { usage })) => {
                if let Some(usage) = usage {
                    self.meter.usage(usage);
                }
                self.meter.whole();
                Ok(None)
            }
            Some(Part::Head(_)) => Err(self.fails(broken("it begins twice"))),
            None => Err(self.fails(truncated())),
        }
    }
}

fn truncated() -> Status {
    let message = "the answer ended before its end marker; what came is not complete";
    proto::status(Code::DataLoss, reason::BACKEND_TRUNCATED, message)
}

/// What is looked for in a whole answer; everything else of it is only found to be JSON.
#[derive(Deserialize)]
struct Told {
    usage: Option<Counts>,
    /// Ollama's, which stand in the answer itself.
    prompt_eval_count: Option<u32>,
    eval_count: Option<u32>,
}

impl Told {
    fn usage(&self) -> Option<Usage> {
        let (prompt, completion) = match &self.usage {
            Some(counts) => (
                counts.prompt_tokens.or(counts.input_tokens),
                counts.completion_tokens.or(counts.output_tokens),
            ),
            None if self.prompt_eval_count.is_none() && self.eval_count.is_none() => return None,
            None => (self.prompt_eval_count, self.eval_count),
        };
        Some(Usage {
            prompt_tokens: prompt.unwrap_or_default(),
            completion_tokens: completion.unwrap_or_default(),
            estimated: prompt.is_none(),
            ..Usage::default()
        })
    }
}

/// By either of their names; an answer may have both.
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u32>,
    input_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    output_tokens: Option<u32>,
}

impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relayed").field("head", &self.head).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_by_any_of_their_names() {
        let told = |json: &str| serde_json::from_str::<Told>(json).unwrap().usage();
        let counts = |json: &str| told(json).map(|it| (it.prompt_tokens, it.completion_tokens, it.estimated));
        assert_eq!(counts(r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#), Some((3, 4, false)));
        assert_eq!(counts(r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#), Some((3, 4, false)));
        assert_eq!(counts(r#"{"prompt_eval_count":3,"eval_count":4}"#), Some((3, 4, false)));
        assert_eq!(counts(r#"{"eval_count":4}"#), Some((0, 4, true)), "Ollama leaves a zero count out");
        assert_eq!(counts(r#"{"models":[]}"#), None);
    }
}
