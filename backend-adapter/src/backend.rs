//! The model servers' dialects: requests out, answers in. Pure: `http` carries the bytes.

mod answer;
mod extension;
mod logprobs;
mod ollama;
mod openai;
mod refusal;
mod spec;

use std::collections::VecDeque;

use bytes::Bytes;
use proto::inference::v1::{BackendKind as ModelKind, ChatEvent, ChatSpec, Model};
use service_runtime::BackendKind;

pub use extension::known_extensions;

pub(crate) use answer::Counts;
pub(crate) use refusal::{by_status, in_answer};

use crate::{
    decode::{ndjson::Ndjson, sse::Sse},
    error::BackendError,
    model_server::Reader,
};
use answer::Answer;

/// A model server's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Ollama's native interface: `/api/chat`, newline-delimited JSON.
    Ollama,
    /// OpenAI's interface: `/v1/chat/completions`, server-sent events.
    OpenAi,
}

/// A chat request in a model server's dialect, and the reader of its answer.
#[derive(Debug)]
pub(crate) struct Call {
    /// Path to POST to.
    pub(crate) path: &'static str,
    /// JSON body.
    pub(crate) body: Bytes,
    /// Reads the answer.
    pub(crate) decoder: ChatDecoder,
}

impl From<BackendKind> for Dialect {
    fn from(kind: BackendKind) -> Self {
        match kind {
            BackendKind::Ollama => Self::Ollama,
            BackendKind::Openai => Self::OpenAi,
        }
    }
}

impl Dialect {
    /// Puts `spec` into this dialect. Whatever the dialect cannot say is refused by name;
    /// nothing is dropped in silence. `cache_salt` is for servers that share what they remember of prompts. `frame` is the largest frame of the answer, in bytes.
    pub(crate) fn call(
        self,
        request_id: &str,
        spec: &ChatSpec,
        cache_salt: &str,
        frame: usize,
    ) -> Result<Call, BackendError> {
        spec::check(spec)?;
        let (path, body) = match self {
            Self::Ollama => ("/api/chat", ollama::request(spec)?),
            Self::OpenAi => ("/v1/chat/completions", openai::request(spec, cache_salt)?),
        };
        let decoder = ChatDecoder::new(self, request_id, spec, frame);
        Ok(Call { path, body: body.into(), decoder })
    }

    /// Path to GET the list of models from.
    pub(crate) fn models_path(self) -> &'static str {
        match self {
            Self::Ollama => "/api/tags",
            Self::OpenAi => "/v1/models",
        }
    }

    /// Reads the list of models, in the server's order.
    pub(crate) fn models(self, body: &[u8]) -> Result<Vec<Model>, BackendError> {
        let names = match self {
            Self::Ollama => ollama::models(body)?,
            Self::OpenAi => openai::models(body)?,
        };
        let backend = match self {
            Self::Ollama => ModelKind::Ollama,
            Self::OpenAi => ModelKind::Openai,
        };
        let model = |name| Model { name: format!("models/{name}"), backend: backend.into() };
        Ok(names.into_iter().map(model).collect())
    }
}

/// Turns the bytes of an answer into events.
///
/// The events are: one `Started`, then the pieces, then, only once the model server has said that
/// the answer is whole, `Finished` and `Usage`. `sequence` has no gaps.
#[derive(Debug)]
pub(crate) struct ChatDecoder {
    frames: Frames,
    answer: Answer,
}

#[derive(Debug)]
enum Frames {
    Ndjson(Ndjson),
    Sse(Sse),
}

impl ChatDecoder {
    fn new(dialect: Dialect, request_id: &str, spec: &ChatSpec, frame: usize) -> Self {
        let frames = match dialect {
            Dialect::Ollama => Frames::Ndjson(Ndjson::new(frame)),
            Dialect::OpenAi => Frames::Sse(Sse::new(frame)),
        };
        Self { frames, answer: Answer::new(request_id, spec) }
    }

    fn next_frame(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, BackendError> {
        Ok(match &mut self.frames {
            Frames::Ndjson(frames) => frames.next(input)?,
            Frames::Sse(frames) => frames.next(input)?,
        })
    }

    fn frame(&mut self, frame: &[u8], events: &mut VecDeque<ChatEvent>) -> Result<(), BackendError> {
        let result = match self.frames {
            Frames::Ndjson(_) => ollama::frame(frame, &mut self.answer),
            Frames::Sse(_) => openai::frame(frame, &mut self.answer),
        };
        self.answer.take_events(events);
        result
    }
}

impl Reader for ChatDecoder {
    type Item = ChatEvent;

    /// The dialect says what comes.
    fn head(&mut self, _: &str, _: &mut VecDeque<ChatEvent>) {}

    /// What follows the end marker is not read.
    fn feed(&mut self, mut input: Bytes, events: &mut VecDeque<ChatEvent>) -> Result<bool, BackendError> {
        let mut came = false;
        while !self.is_complete()
            && let Some(frame) = self.next_frame(&mut input)?
        {
            came = true;
            self.frame(&frame, events)?;
        }
        Ok(came)
    }

    fn end(&mut self, events: &mut VecDeque<ChatEvent>) -> Result<(), BackendError> {
        if let Frames::Ndjson(frames) = &mut self.frames
            && !self.answer.is_complete()
            && let Some(last) = frames.finish()?
        {
            self.frame(&last, events).map_err(cut)?;
        }
        if self.is_complete() {
            return Ok(());
        }
        Err(BackendError::Truncated("it closed the connection without the end marker"))
    }

    fn has_spoken(&self) -> bool {
        self.answer.has_spoken()
    }

    fn is_complete(&self) -> bool {
        self.answer.is_complete()
    }
}

/// A last line that is no answer was cut, unless the server says otherwise.
fn cut(error: BackendError) -> BackendError {
    if matches!(error, BackendError::Protocol(_)) {
        return BackendError::Truncated("it closed the connection inside a line");
    }
    error
}

#[cfg(test)]
mod tests;
