//! What the fake model server does with one chat request, in either dialect.

use std::{io, sync::Arc, vec};

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Body, pass};

/// Name of the only model.
const MODEL: &str = "fake";

/// What happens to one chat request.
#[derive(Debug, Clone)]
pub struct Script {
    /// How it is answered at first.
    pub head: Head,
    /// The body, where the head is a 200.
    pub steps: Vec<Step>,
}

/// How a chat request is answered at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// 200 at once.
    Ok,
    /// 200 when the test says [`super::FakeBackend::go_on`].
    Wait,
    /// Nothing, for ever: the silence of a long prompt.
    Never,
    /// The connection is closed without an answer.
    Die,
    /// An error status, with a body that repeats the request.
    Status(StatusCode),
}

/// A piece of the body.
#[derive(Debug, Clone)]
pub enum Step {
    /// A piece of the answer.
    Text(String),
    /// A piece of the reasoning.
    Reasoning(String),
    /// A whole tool call; in fragments where the dialect has them.
    ToolCall {
        /// Function.
        name: String,
        /// Arguments: the JSON text of an object.
        arguments: String,
    },
    /// The end: its reason, token counts if any, and the end marker.
    End {
        /// `stop`, `length`, …
        reason: String,
        /// Tokens of prompt and answer; `None` leaves them out.
        usage: Option<(u32, u32)>,
    },
    /// As `End`, without the end marker where that is a frame of its own; nothing in Ollama's dialect.
    EndWithoutMarker,
    /// An error frame, and after it the end marker where the dialect has one of its own.
    Error(String),
    /// A frame that is no JSON.
    Malformed,
    /// A frame of more than 1 MiB.
    Oversized,
    /// A keep-alive where the dialect has one, else a blank line.
    KeepAlive,
    /// These bytes.
    Raw(Bytes),
    /// Waits until the test says [`super::FakeBackend::go_on`].
    Wait,
    /// Silence for ever.
    Stall,
    /// The connection is closed in mid-body.
    Die,
}

impl Script {
    /// `steps` after a 200.
    pub fn answer(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { head: Head::Ok, steps: steps.into_iter().collect() }
    }

    /// No body, because `head` says no or nothing.
    pub fn head(head: Head) -> Self {
        Self { head, steps: Vec::new() }
    }

    /// An error status, with a body that repeats the request.
    pub fn refuse(status: StatusCode) -> Self {
        Self::head(Head::Status(status))
    }

    /// A whole answer: `Hello from the fake.`
    pub fn hello() -> Self {
        Self::answer([Step::text("Hello"), Step::text(" from"), Step::text(" the fake."), Step::end()])
    }

    /// `count` pieces of text, each waiting for the test, and a proper end.
    pub fn paced(count: usize) -> Self {
        let pieces = (0..count).flat_map(|at| [Step::Wait, Step::Text(format!("piece{at} "))]);
        Self::answer(pieces.chain([Step::end()]))
    }
}

impl Step {
    /// A piece of the answer.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A proper end with token counts 5 and 3.
    pub fn end() -> Self {
        Self::End { reason: "stop".to_owned(), usage: Some((5, 3)) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Ollama,
}

impl Dialect {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenAi => "text/event-stream; charset=utf-8",
            Self::Ollama => "application/x-ndjson",
        }
    }

    pub(super) fn refusal(self, status: StatusCode, message: &str) -> Value {
        match self {
            Self::OpenAi => {
                json!({"error": {"message": message, "type": "Error", "param": null, "code": status.as_u16()}})
            }
            Self::Ollama => json!({"error": message}),
        }
    }

    fn render(self, step: &Step) -> Bytes {
        match self {
            Self::OpenAi => openai(step),
            Self::Ollama => ollama(step),
        }
    }

    fn whole(self, text: &str, calls: &[(String, String)], reason: &str, usage: (u32, u32)) -> Value {
        let call = |(name, arguments): &(String, String)| match self {
            Self::OpenAi => {
                json!({"id": "call_fake", "type": "function", "function": {"name": name, "arguments": arguments}})
            }
            Self::Ollama => {
                let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
                json!({"function": {"name": name, "arguments": arguments}})
            }
        };
        let calls = (!calls.is_empty()).then(|| calls.iter().map(call).collect::<Vec<_>>());
        let message = json!({"role": "assistant", "content": text, "tool_calls": calls});
        match self {
            Self::OpenAi => json!({"id": "fake", "object": "chat.completion", "created": 0, "model": MODEL,
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": usage.0, "completion_tokens": usage.1, "total_tokens": usage.0 + usage.1}}),
            Self::Ollama => json!({"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "message": message,
                "done": true, "done_reason": reason, "prompt_eval_count": usage.0, "eval_count": usage.1}),
        }
    }

    /// Whether a request of this dialect asks for a stream.
    pub(super) fn streams(self, request: &Value) -> bool {
        request.get("stream").and_then(Value::as_bool).unwrap_or(self == Self::Ollama)
    }

    fn frame(self, value: &Value) -> String {
        match self {
            Self::OpenAi => format!("data: {value}\n\n"),
            Self::Ollama => format!("{value}\n"),
        }
    }
}

pub(super) fn models(path: &str) -> Value {
    match path {
        "/api/tags" => json!({"models": [{"name": MODEL, "model": MODEL}]}),
        _ => json!({"object": "list", "data": [{"id": MODEL, "object": "model"}]}),
    }
}

pub(super) fn answer_body(steps: Vec<Step>, dialect: Dialect, gate: Arc<Semaphore>) -> Body {
    let frames = stream::unfold((steps.into_iter(), gate), move |(mut steps, gate)| async move {
        let sent = next(&mut steps, dialect, &gate).await?;
        Some((sent.map(Frame::data), (steps, gate)))
    });
    BodyExt::boxed(StreamBody::new(frames))
}

/// The answer as one value, where the request asked for that; it comes with [`Step::End`].
pub(super) fn whole_body(steps: Vec<Step>, dialect: Dialect, gate: Arc<Semaphore>) -> Body {
    let value = stream::once(async move {
        let (mut text, mut calls) = (String::new(), Vec::new());
        for step in steps {
            match step {
                Step::Wait => pass(&gate).await,
                Step::Stall => std::future::pending::<()>().await,
                Step::Text(piece) => text.push_str(&piece),
                Step::ToolCall { name, arguments } => calls.push((name, arguments)),
                Step::End { reason, usage } => {
                    let value = dialect.whole(&text, &calls, &reason, usage.unwrap_or_default());
                    return Ok(Frame::data(Bytes::from(value.to_string())));
                }
                Step::Reasoning(_) | Step::KeepAlive => {}
                Step::EndWithoutMarker
                | Step::Error(_)
                | Step::Malformed
                | Step::Oversized
                | Step::Raw(_)
                | Step::Die => break,
            }
        }
        Err(io::Error::other("the script dies"))
    });
    BodyExt::boxed(StreamBody::new(value))
}

async fn next(
    steps: &mut vec::IntoIter<Step>,
    dialect: Dialect,
    gate: &Semaphore,
) -> Option<io::Result<Bytes>> {
    loop {
        let step = steps.next()?;
        if let Step::Wait = step {
            pass(gate).await;
            continue;
        }
        if let Step::Stall = step {
            std::future::pending::<()>().await;
        }
        if let Step::Die = step {
            // What was sent before leaves first: hyper flushes while the body is pending.
            tokio::task::yield_now().await;
            return Some(Err(io::Error::other("the script dies")));
        }
        return Some(Ok(dialect.render(&step)));
    }
}

fn openai(step: &Step) -> Bytes {
    const DONE: &str = "data: [DONE]\n\n";
    let frame = |value: Value| Dialect::OpenAi.frame(&value);
    let chunk = |delta: Value, reason: Option<&str>| {
        frame(json!({"object": "chat.completion.chunk", "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
    };
    let usage = |usage: &Option<(u32, u32)>| {
        usage.map_or_else(String::new, |(prompt, completion)| {
            frame(json!({"model": MODEL, "choices": [],
                "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}))
        })
    };
    match step {
        Step::Text(text) => chunk(json!({"content": text}), None).into(),
        Step::Reasoning(text) => chunk(json!({"reasoning": text}), None).into(),
        Step::ToolCall { name, arguments } => {
            let head = json!({"index": 0, "id": "call_fake", "type": "function", "function": {"name": name, "arguments": ""}});
            let rest = json!({"index": 0, "function": {"arguments": arguments}});
            (chunk(json!({"tool_calls": [head]}), None) + &chunk(json!({"tool_calls": [rest]}), None)).into()
        }
        Step::End { reason, usage: counts } => {
            (chunk(json!({}), Some(reason)) + &usage(counts) + DONE).into()
        }
        Step::EndWithoutMarker => chunk(json!({}), Some("stop")).into(),
        Step::Error(text) => {
            (frame(Dialect::OpenAi.refusal(StatusCode::INTERNAL_SERVER_ERROR, text)) + DONE).into()
        }
        Step::Malformed => "data: {\"choices\": [\n\n".into(),
        Step::Oversized => format!("data: {}\n\n", "x".repeat(1 << 20)).into(),
        Step::KeepAlive => ": keep-alive\n\n".into(),
        Step::Raw(bytes) => bytes.clone(),
        Step::Wait | Step::Stall | Step::Die => Bytes::new(),
    }
}

fn ollama(step: &Step) -> Bytes {
    let frame = |value: Value| Dialect::Ollama.frame(&value);
    let line = |message: Value| frame(json!({"model": MODEL, "message": message, "done": false}));
    match step {
        Step::Text(text) => line(json!({"role": "assistant", "content": text})).into(),
        Step::Reasoning(text) => line(json!({"role": "assistant", "content": "", "thinking": text})).into(),
        Step::ToolCall { name, arguments } => {
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
            let call = json!({"function": {"name": name, "arguments": arguments}});
            line(json!({"role": "assistant", "content": "", "tool_calls": [call]})).into()
        }
        Step::End { reason, usage } => {
            let mut end = json!({"model": MODEL, "message": {"role": "assistant", "content": ""},
                "done": true, "done_reason": reason});
            if let (Some((prompt, completion)), Some(end)) = (usage, end.as_object_mut()) {
                end.insert("prompt_eval_count".into(), (*prompt).into());
                end.insert("eval_count".into(), (*completion).into());
            }
            frame(end).into()
        }
        Step::Error(text) => frame(json!({"error": text})).into(),
        Step::Malformed => "{\"model\": \n".into(),
        Step::Oversized => format!("{}\n", "x".repeat((1 << 20) + 1)).into(),
        Step::KeepAlive => "\n".into(),
        Step::Raw(bytes) => bytes.clone(),
        Step::EndWithoutMarker | Step::Wait | Step::Stall | Step::Die => Bytes::new(),
    }
}
