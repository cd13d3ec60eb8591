//! Requests in a dialect that the model server speaks itself: where they may go, and the watch over the answer.
//!
//! The answer goes on byte for byte, in whole events or lines. Looked for are errors, which end it; its end marker, without
//! which it has failed; and token counts. Nothing else is read. Pure: `http` carries the bytes.

mod look;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::Method;
use proto::{
    backend::v1::{Endpoint, RelayEnd, RelayForm, RelayHead, relay_response::Part},
    inference::v1::Usage,
};
use service_runtime::BackendKind;

use crate::{backend::Dialect, decode::FrameError, error::BackendError, model_server::Reader};
use look::Sight;

/// Where an endpoint is, and on which model servers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) method: &'static Method,
    pub(crate) path: &'static str,
    dialects: &'static [Dialect],
}

const OPENAI: &[Dialect] = &[Dialect::OpenAi];
const OLLAMA: &[Dialect] = &[Dialect::Ollama];
const BOTH: &[Dialect] = &[Dialect::OpenAi, Dialect::Ollama];

/// Every endpoint of a model server that a request can reach. What manages it (pull, delete, load, sleep, metrics) is not
/// here. Ollama's own `/v1/chat/completions` is not, either: it loses errors in mid-stream and forces sampling values.
#[rustfmt::skip]
const PLACES: &[(Endpoint, Place)] = &[
    (Endpoint::OpenaiChat, post("/v1/chat/completions", OPENAI)),
    (Endpoint::OpenaiCompletions, post("/v1/completions", BOTH)),
    (Endpoint::OpenaiEmbeddings, post("/v1/embeddings", BOTH)),
    (Endpoint::OpenaiResponses, post("/v1/responses", BOTH)),
    (Endpoint::OpenaiTranscriptions, post("/v1/audio/transcriptions", BOTH)),
    (Endpoint::AnthropicMessages, post("/v1/messages", BOTH)),
    (Endpoint::Rerank, post("/v1/rerank", OPENAI)),
    (Endpoint::Tokenize, post("/tokenize", OPENAI)),
    (Endpoint::Detokenize, post("/detokenize", OPENAI)),
    (Endpoint::OllamaChat, post("/api/chat", OLLAMA)),
    (Endpoint::OllamaGenerate, post("/api/generate", OLLAMA)),
    (Endpoint::OllamaEmbed, post("/api/embed", OLLAMA)),
    (Endpoint::OllamaEmbeddings, post("/api/embeddings", OLLAMA)),
    (Endpoint::OllamaShow, post("/api/show", OLLAMA)),
    (Endpoint::OllamaTags, get("/api/tags")),
    (Endpoint::OllamaPs, get("/api/ps")),
];

const fn post(path: &'static str, dialects: &'static [Dialect]) -> Place {
    Place { method: &Method::POST, path, dialects }
}

const fn get(path: &'static str) -> Place {
    Place { method: &Method::GET, path, dialects: OLLAMA }
}

/// The place of `endpoint` on a model server of this dialect.
pub(crate) fn place(endpoint: Endpoint, dialect: Dialect) -> Result<Place, BackendError> {
    let place = PLACES.iter().find(|(known, _)| *known == endpoint).map(|(_, place)| *place);
    place.filter(|place| place.dialects.contains(&dialect)).ok_or(BackendError::NoEndpoint)
}

/// Paths that are passed on to a model server of this kind, for documents.
pub fn passed_on(kind: BackendKind) -> impl Iterator<Item = &'static str> {
    let dialect = Dialect::from(kind);
    PLACES.iter().filter(move |(_, place)| place.dialects.contains(&dialect)).map(|(_, place)| place.path)
}

/// Reads an answer, and passes it on.
#[derive(Debug)]
pub(crate) struct Watch {
    endpoint: Endpoint,
    strip_usage: bool,
    /// Largest event or line, in bytes.
    limit: usize,
    form: RelayForm,
    /// The beginning of an event or line whose end has not come yet.
    rest: BytesMut,
    spoken: bool,
    complete: bool,
    usage: Option<Usage>,
}

impl Watch {
    /// Over an answer of `endpoint`, whose frames have at most `limit` bytes.
    pub(crate) fn new(endpoint: Endpoint, strip_usage: bool, limit: usize) -> Self {
        Self {
            endpoint,
            strip_usage,
            limit,
            form: RelayForm::Whole,
            rest: BytesMut::new(),
            spoken: false,
            complete: false,
            usage: None,
        }
    }

    /// What has come, after what is left of before; and from where on its frames' ends have to be looked for.
    fn joined(&mut self, input: Bytes) -> (Bytes, usize) {
        if self.rest.is_empty() {
            return (input, 0);
        }
        let looked_at = self.rest.len().saturating_sub(END.len() + 1);
        self.rest.extend_from_slice(&input);
        (std::mem::take(&mut self.rest).freeze(), looked_at)
    }

    /// The length of the first frame, with its end.
    fn frame_length(&self, input: &[u8], from: usize) -> Option<usize> {
        let rest = input.get(from..)?;
        let newline = |rest: &[u8]| rest.iter().position(|byte| *byte == b'\n');
        if self.form == RelayForm::Lines {
            return newline(rest).map(|at| from + at + 1);
        }
        let mut at = from;
        while let Some(found) = newline(input.get(at..)?) {
            at += found + 1;
            match input.get(at..)? {
                [b'\n', ..] => return Some(at + 1),
                [b'\r', b'\n', ..] => return Some(at + 2),
                _ => {}
            }
        }
        None
    }

    /// Looks at one frame; whether it goes on.
    fn look(&mut self, frame: &[u8]) -> Result<bool, BackendError> {
        let frame = std::str::from_utf8(frame).map_err(|_| FrameError::NotUtf8)?;
        let sight = match self.form {
            RelayForm::Lines => look::line(frame)?,
            RelayForm::Events | RelayForm::Whole | RelayForm::Unspecified => {
                look::event(frame, self.endpoint)?
            }
        };
        match sight {
            Sight::Nothing => return Ok(true),
            Sight::Piece => {}
            Sight::Counts { usage, only } => {
                self.usage = Some(usage);
                if only && self.strip_usage {
                    return Ok(false);
                }
            }
            Sight::End(usage) => {
                self.usage = usage.or(self.usage);
                self.complete = true;
            }
        }
        self.spoken = true;
        Ok(true)
    }

    fn finished(&self) -> Part {
        Part::End(RelayEnd { usage: self.usage })
    }
}

/// The shortest end of an event.
const END: &[u8] = b"\n\n";

impl Reader for Watch {
    type Item = Part;

    fn head(&mut self, content_type: &str, parts: &mut VecDeque<Part>) {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        self.form = match essence {
            "text/event-stream" => RelayForm::Events,
            "application/x-ndjson" => RelayForm::Lines,
            _ => RelayForm::Whole,
        };
        let content_type = content_type.to_owned();
        parts.push_back(Part::Head(RelayHead { form: self.form.into(), content_type }));
    }

    /// As much as goes on unchanged is one part, however many frames it is.
    fn feed(&mut self, input: Bytes, parts: &mut VecDeque<Part>) -> Result<bool, BackendError> {
        if self.form == RelayForm::Whole {
            self.spoken = true;
            parts.push_back(Part::Body(input));
            return Ok(true);
        }
        let (input, mut looked_at) = self.joined(input);
        let (mut from, mut at) = (0, 0);
        let mut pass = |from: usize, to: usize| {
            if from < to {
                parts.push_back(Part::Body(input.slice(from..to)));
            }
        };
        while !self.complete
            && let Some(length) = input.get(at..).and_then(|rest| self.frame_length(rest, looked_at))
        {
            looked_at = 0;
            match input.get(at..at + length).map(|frame| self.look(frame)) {
                Some(Ok(true)) => {}
                Some(Ok(false)) => {
                    pass(from, at);
                    from = at + length;
                }
                Some(Err(error)) => {
                    pass(from, at);
                    return Err(error);
                }
                None => break,
            }
            at += length;
        }
        pass(from, at);
        if self.complete {
            parts.push_back(self.finished());
        } else if input.len() - at > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit }.into());
        } else {
            self.rest.extend_from_slice(input.get(at..).unwrap_or_default());
        }
        Ok(at > 0)
    }

    fn end(&mut self, parts: &mut VecDeque<Part>) -> Result<(), BackendError> {
        if self.form == RelayForm::Lines && !self.complete && !self.rest.is_empty() {
            let last = std::mem::take(&mut self.rest).freeze();
            self.look(&last)?;
            parts.push_back(Part::Body(last));
        }
        if !self.complete && self.form != RelayForm::Whole {
            return Err(BackendError::Truncated("it closed the connection without the end marker"));
        }
        parts.push_back(self.finished());
        Ok(())
    }

    fn has_spoken(&self) -> bool {
        self.spoken
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests;
