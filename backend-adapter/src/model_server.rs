//! A request's way through the model server: limits, and when the answer is over.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Method, StatusCode};
use proto::{
    backend::v1::relay_response::Part,
    inference::v1::{ChatEvent, Model},
};
use tokio::time::Instant;

use crate::{
    backend::{Call, Dialect, by_status},
    decode::MAX_FRAME,
    dial::Endpoint,
    error::{BackendError, Phase},
    http::{Ask, Exchange, JSON, Until},
    line::Kept,
    permit::Permit,
    relay::Watch,
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
    /// For the whole of a relayed answer that is not streamed.
    pub unary: Duration,
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
            unary: Duration::from_mins(10),
            answer: Duration::from_secs(10),
            body: 32 << 20,
            frame: MAX_FRAME,
        }
    }
}

/// The model server.
pub(crate) struct ModelServer {
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) limits: AnswerLimits,
    pub(crate) kept: Kept,
}

impl fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelServer").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl ModelServer {
    pub(crate) fn new(dialect: Dialect, endpoint: Endpoint, limits: AnswerLimits) -> Self {
        Self { dialect, endpoint, limits, kept: Kept::default() }
    }

    /// Runs `call` and streams its events. Dropping the stream closes the connection.
    pub(crate) fn generate<P: Permit>(
        self: Arc<Self>,
        call: Call,
        permit: P,
    ) -> impl Stream<Item = Result<ChatEvent, BackendError>> + Send {
        let Call { path, body, decoder } = call;
        let ask = Ask { method: Method::POST, path, content_type: JSON, body };
        let first = Until { at: Instant::now() + self.limits.first_token, phase: Phase::FirstToken };
        self.answer(ask, decoder, first, permit)
    }

    /// Passes a request on, and streams its answer. Dropping the stream closes the connection.
    pub(crate) fn relay<P: Permit>(
        self: Arc<Self>,
        relayed: Relayed,
        permit: P,
    ) -> impl Stream<Item = Result<Part, BackendError>> + Send {
        let Relayed { ask, watch, streamed } = relayed;
        let (limit, phase) = if streamed {
            (self.limits.first_token, Phase::FirstToken)
        } else {
            (self.limits.unary, Phase::Unary)
        };
        let first = Until { at: Instant::now() + limit, phase };
        self.answer(ask, watch, first, permit)
    }

    fn answer<P: Permit, R: Reader>(
        self: Arc<Self>,
        ask: Ask,
        reader: R,
        first: Until,
        permit: P,
    ) -> impl Stream<Item = Result<R::Item, BackendError>> + Send {
        // In a box, which each item moves in and out of the stream.
        let generation = Box::new(Generation {
            first,
            frame: Instant::now(),
            server: self,
            permit,
            stage: Stage::Ask(ask),
            reader,
            items: VecDeque::new(),
            failure: None,
        });
        stream::unfold(generation, async |mut generation| {
            let item = generation.next().await?;
            Some((item, generation))
        })
    }

    /// The models that it has.
    pub(crate) async fn models<P: Permit>(&self, permit: P) -> Result<Vec<Model>, BackendError> {
        let path = self.dialect.models_path();
        let ask = Ask { method: Method::GET, path, content_type: JSON, body: Bytes::new() };
        let until = self.short_answer();
        let exchange = Exchange::open(self, ask, permit, until).await?;
        let mut exchange = self.accepted(exchange).await?;
        let models = exchange.whole(self.limits.frame, until).await?;
        exchange.leave(&self.kept);
        self.dialect.models(&models)
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

/// A request in the model server's own dialect, and who watches its answer.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) ask: Ask,
    pub(crate) watch: Watch,
    /// The answer comes piece by piece.
    pub(crate) streamed: bool,
}

/// Makes items of the bytes of an answer.
pub(crate) trait Reader: Send + 'static {
    type Item: Send;

    /// The model server accepted the request.
    fn head(&mut self, content_type: &str, items: &mut VecDeque<Self::Item>);
    /// Reads `input`; whether a frame came. The items before an error are in `items` and count.
    fn feed(&mut self, input: Bytes, items: &mut VecDeque<Self::Item>) -> Result<bool, BackendError>;
    /// The model server closed its answer: an error unless it is complete.
    fn end(&mut self, items: &mut VecDeque<Self::Item>) -> Result<(), BackendError>;
    /// Whether a piece of the answer has come.
    fn has_spoken(&self) -> bool;
    /// Whether the end marker has come.
    fn is_complete(&self) -> bool;
}

/// One answer under way.
struct Generation<P, R: Reader> {
    server: Arc<ModelServer>,
    permit: P,
    stage: Stage<P>,
    reader: R,
    /// Read, and not handed on yet.
    items: VecDeque<R::Item>,
    /// Comes after the items.
    failure: Option<BackendError>,
    /// When the first piece must be there.
    first: Until,
    /// When the last frame came.
    frame: Instant,
}

enum Stage<P> {
    Ask(Ask),
    Answer(Exchange<P>),
    Over,
}

impl<P: Permit, R: Reader> Generation<P, R> {
    async fn next(&mut self) -> Option<Result<R::Item, BackendError>> {
        loop {
            if self.permit.check().is_err() && !self.is_told() {
                self.fail(BackendError::Lapsed);
                self.items.clear();
            }
            if let Some(item) = self.items.pop_front() {
                return Some(Ok(item));
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
        let exchange = Exchange::open(server, ask, permit, self.until()).await?;
        let exchange = server.accepted(exchange).await?;
        self.reader.head(exchange.content_type(), &mut self.items);
        Ok(Stage::Answer(exchange))
    }

    async fn read(&mut self, mut exchange: Exchange<P>) -> Result<Stage<P>, BackendError> {
        let Some(bytes) = exchange.chunk(self.until()).await? else {
            self.reader.end(&mut self.items)?;
            exchange.leave(&self.server.kept);
            return Ok(Stage::Over);
        };
        if self.reader.feed(bytes, &mut self.items)? {
            self.frame = Instant::now();
        }
        if !self.reader.is_complete() {
            return Ok(Stage::Answer(exchange));
        }
        exchange.leave(&self.server.kept);
        Ok(Stage::Over)
    }

    fn until(&self) -> Until {
        if self.reader.has_spoken() {
            Until { at: self.frame + self.server.limits.stream_idle, phase: Phase::Idle }
        } else {
            self.first
        }
    }

    /// Closes the connection now, however slowly the reader takes what came before.
    fn fail(&mut self, error: BackendError) {
        self.stage = Stage::Over;
        self.failure = Some(error);
    }

    /// Whether the reader has been told the end already.
    fn is_told(&self) -> bool {
        matches!(self.stage, Stage::Over) && self.items.is_empty() && self.failure.is_none()
    }
}

#[cfg(test)]
mod tests;
