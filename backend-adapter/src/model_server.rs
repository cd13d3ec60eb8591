//! A request's way through the model server: limits, and when the answer is over.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Method, StatusCode};
use proto::inference::v1::{ChatEvent, Model};
use tokio::time::Instant;

use crate::{
    backend::{Call, Dialect, by_status},
    decode::MAX_FRAME,
    dial::Endpoint,
    error::{BackendError, Phase},
    http::{Ask, Exchange, Until},
    permit::Permit,
};

/// How much of a refusal's body is looked at, in bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// Bounds on a request and its answer. Defaults are those of the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    /// For the connection.
    pub connect: Duration,
    /// Until the first token, from the beginning: loading the model and reading the prompt included.
    pub first_token: Duration,
    /// Between two frames after it. Keep-alive comments do not count: a stuck engine sends them too.
    pub stream_idle: Duration,
    /// For the whole of a short answer: the list of models, the body of a refusal.
    pub answer: Duration,
    /// Largest request, in bytes.
    pub body: usize,
    /// Largest frame of an answer, and largest list of models, in bytes.
    pub frame: usize,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_token: Duration::from_mins(5),
            stream_idle: Duration::from_mins(1),
            answer: Duration::from_secs(10),
            body: 32 << 20,
            frame: MAX_FRAME,
        }
    }
}

/// The model server.
#[derive(Debug, Clone)]
pub(crate) struct ModelServer {
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) limits: AnswerLimits,
}

impl ModelServer {
    /// Runs `call` and streams its events. Dropping the stream closes the connection.
    pub(crate) fn generate<P: Permit>(
        self: Arc<Self>,
        call: Call,
        permit: P,
    ) -> impl Stream<Item = Result<ChatEvent, BackendError>> + Send {
        let Call { path, body, decoder } = call;
        let ask = Ask { method: Method::POST, path, body };
        let generation = Generation {
            first_token: Instant::now() + self.limits.first_token,
            frame: Instant::now(),
            server: self,
            permit,
            stage: Stage::Ask(ask),
            decoder,
            events: VecDeque::new(),
            failure: None,
        };
        stream::unfold(generation, async |mut generation| {
            let event = generation.next().await?;
            Some((event, generation))
        })
    }

    /// The models that it has.
    pub(crate) async fn models<P: Permit>(&self, permit: P) -> Result<Vec<Model>, BackendError> {
        let ask = Ask { method: Method::GET, path: self.dialect.models_path(), body: Bytes::new() };
        let until = self.short_answer();
        let exchange = Exchange::open(&self.endpoint, ask, permit, &self.limits, until).await?;
        let exchange = self.accepted(exchange).await?;
        self.dialect.models(&exchange.whole(self.limits.frame, until).await?)
    }

    async fn accepted<P: Permit>(&self, exchange: Exchange<P>) -> Result<Exchange<P>, BackendError> {
        match exchange.status() {
            StatusCode::OK => Ok(exchange),
            refused => Err(by_status(refused, &exchange.beginning(MAX_REFUSAL, self.short_answer()).await)),
        }
    }

    fn short_answer(&self) -> Until {
        Until { at: Instant::now() + self.limits.answer, phase: Phase::Answer }
    }
}

/// One answer under way.
struct Generation<P> {
    server: Arc<ModelServer>,
    permit: P,
    stage: Stage<P>,
    decoder: crate::backend::ChatDecoder,
    /// Decoded, and not handed on yet.
    events: VecDeque<ChatEvent>,
    /// Comes after the events.
    failure: Option<BackendError>,
    /// When the first token must be there.
    first_token: Instant,
    /// When the last frame came.
    frame: Instant,
}

enum Stage<P> {
    Ask(Ask),
    Answer(Exchange<P>),
    Over,
}

impl<P: Permit> Generation<P> {
    async fn next(&mut self) -> Option<Result<ChatEvent, BackendError>> {
        loop {
            if self.permit.check().is_err() && !self.is_told() {
                self.fail(BackendError::Lapsed);
                self.events.clear();
            }
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if let Some(failure) = self.failure.take() {
                return Some(Err(failure));
            }
            let step = match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Ask(ask) => self.ask(ask).await,
                Stage::Answer(exchange) => self.read(exchange).await,
                Stage::Over => return None,
            };
            match step {
                Ok(stage) => self.stage = stage,
                Err(error) => self.fail(error),
            }
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<Stage<P>, BackendError> {
        let (server, permit) = (&self.server, self.permit.clone());
        let exchange = Exchange::open(&server.endpoint, ask, permit, &server.limits, self.until()).await?;
        server.accepted(exchange).await.map(Stage::Answer)
    }

    async fn read(&mut self, mut exchange: Exchange<P>) -> Result<Stage<P>, BackendError> {
        let Some(bytes) = exchange.chunk(self.until()).await? else {
            self.decoder.end(&mut self.events)?;
            return Ok(Stage::Over);
        };
        if self.decoder.feed(bytes, &mut self.events)? {
            self.frame = Instant::now();
        }
        Ok(if self.decoder.is_complete() { Stage::Over } else { Stage::Answer(exchange) })
    }

    fn until(&self) -> Until {
        if self.decoder.has_spoken() {
            Until { at: self.frame + self.server.limits.stream_idle, phase: Phase::Idle }
        } else {
            Until { at: self.first_token, phase: Phase::FirstToken }
        }
    }

    /// Closes the connection now, however slowly the reader takes what came before.
    fn fail(&mut self, error: BackendError) {
        self.stage = Stage::Over;
        self.failure = Some(error);
    }

    /// Whether the reader has been told the end already.
    fn is_told(&self) -> bool {
        matches!(self.stage, Stage::Over) && self.events.is_empty() && self.failure.is_none()
    }
}

#[cfg(test)]
mod tests;
