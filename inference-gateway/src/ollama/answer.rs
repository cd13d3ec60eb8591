//! Answers in Ollama's form: a JSON object a line, or one.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use proto::inference::v1::{
    ChatResponse, FinishReason, ToolCall, Usage, chat_event::Event, content_part::Part,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use service_runtime::Clock;
use snp_evidence::UnixTime;
use tokio::time::Instant;
use tonic::Status;

use crate::{chat::Answer, openai, streamed::Pieces};

/// Which endpoint's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `/api/chat`: `message`.
    Chat,
    /// `/api/generate`: `response`.
    Generate,
}

/// What every line of an answer repeats.
pub(super) struct Lines {
    shape: Shape,
    clock: Arc<dyn Clock>,
    model: String,
    since: Instant,
    first: Option<Instant>,
    finish: FinishReason,
    usage: Option<Usage>,
    /// A call whose arguments are not complete yet: Ollama sends calls whole.
    call: Option<ToolCall>,
}

/// The lines of an answer under way.
pub(super) struct Streamed {
    /// None once the last line is told.
    answer: Option<Answer>,
    lines: Lines,
}

impl Lines {
    pub(super) fn new(shape: Shape, clock: Arc<dyn Clock>) -> Self {
        Self {
            shape,
            clock,
            model: String::new(),
            since: Instant::now(),
            first: None,
            finish: FinishReason::Stop,
            usage: None,
            call: None,
        }
    }

    pub(super) fn of(self, answer: Answer) -> Streamed {
        Streamed { answer: Some(answer), lines: self }
    }

    /// The lines that an event makes: a call is told once it is complete.
    fn event(&mut self, event: Event) -> Vec<u8> {
        let goes_on = matches!(event, Event::ToolCallDelta(_) | Event::Logprobs(_) | Event::Usage(_));
        let complete = if goes_on { None } else { self.call.take() };
        let told = complete.map(|call| self.piece(&Said { tool_calls: &[call], ..Said::default() }));
        let mut lines = told.unwrap_or_default();
        match event {
            Event::Started(started) => self.model = started.model,
            Event::Text(delta) => lines.extend(self.piece(&Said { text: &delta.text, ..Said::default() })),
            Event::Reasoning(delta) => {
                lines.extend(self.piece(&Said { thinking: &delta.text, ..Said::default() }));
            }
            Event::ToolCallStarted(call) => {
                self.call = Some(ToolCall { id: call.id, name: call.name, arguments: String::new() });
            }
            Event::ToolCallDelta(delta) => {
                if let Some(call) = &mut self.call {
                    call.arguments.push_str(&delta.arguments);
                }
            }
            // Not asked for: the request could not say it.
            Event::Logprobs(_) => {}
            Event::Finished(finished) => self.finish = finished.reason(),
            Event::Usage(usage) => self.usage = Some(usage),
        }
        lines
    }

    fn piece(&mut self, said: &Said<'_>) -> Vec<u8> {
        self.first.get_or_insert_with(Instant::now);
        self.line(said, None)
    }

    fn line(&self, said: &Said<'_>, end: Option<End>) -> Vec<u8> {
        let message = || Turn {
            role: "assistant",
            content: said.text,
            thinking: said.thinking,
            tool_calls: said.tool_calls.iter().map(Call::from).collect(),
        };
        let line = Line {
            model: &self.model,
            created_at: UnixTime(self.clock.unix()).to_string(),
            message: (self.shape == Shape::Chat).then(message),
            response: (self.shape == Shape::Generate).then_some(said.text),
            thinking: (self.shape == Shape::Generate && !said.thinking.is_empty()).then_some(said.thinking),
            done: end.is_some(),
            end,
        };
        let mut json = serde_json::to_vec(&line).unwrap_or_default();
        json.push(b'\n');
        json
    }

    fn end(&self) -> End {
        let now = Instant::now();
        let nanoseconds =
            |from: Instant, to: Instant| u64::try_from((to - from).as_nanos()).unwrap_or(u64::MAX);
        let first = self.first.unwrap_or(now);
        End {
            done_reason: if self.finish == FinishReason::Length { "length" } else { "stop" },
            total_duration: nanoseconds(self.since, now),
            load_duration: 0,
            prompt_eval_count: self.usage.map(|usage| usage.prompt_tokens),
            prompt_eval_duration: nanoseconds(self.since, first),
            eval_count: self.usage.map(|usage| usage.completion_tokens),
            eval_duration: nanoseconds(first, now),
        }
    }

    /// An answer that was not streamed.
    pub(super) fn whole(mut self, answer: &ChatResponse) -> Vec<u8> {
        answer.model.clone_into(&mut self.model);
        (self.finish, self.usage) = (answer.finish_reason(), answer.usage);
        let message = answer.message.as_ref();
        let text = message.and_then(|message| match message.content.first()?.part.as_ref()? {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) | Part::Audio(_) => None,
        });
        let tool_calls = message.map_or(&[][..], |message| &message.tool_calls);
        let said = Said { text: text.unwrap_or_default(), thinking: &answer.reasoning, tool_calls };
        self.line(&said, Some(self.end()))
    }
}

impl Pieces for Streamed {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(answer) = &mut self.answer else { return Ok(None) };
        while let Some(event) = answer.next().await? {
            let lines = event.event.map(|event| self.lines.event(event)).unwrap_or_default();
            if !lines.is_empty() {
                return Ok(Some(lines.into()));
            }
        }
        self.answer = None;
        Ok(Some(self.lines.line(&Said::default(), Some(self.lines.end())).into()))
    }
}

/// The answer to a request that asks for nothing: the model is there.
pub(super) fn loaded(model: &str, created_at: &str) -> Response {
    let body = serde_json::json!({
        "model": model, "created_at": created_at, "response": "",
        "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": "load",
    });
    openai::json(body.to_string())
}

/// What one line says.
#[derive(Default)]
struct Said<'a> {
    text: &'a str,
    thinking: &'a str,
    tool_calls: &'a [ToolCall],
}

#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    done: bool,
    #[serde(flatten)]
    end: Option<End>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: Box<RawValue>,
}

impl<'a> From<&'a ToolCall> for Call<'a> {
    /// Ollama's arguments are an object; a model may have written none.
    fn from(call: &'a ToolCall) -> Self {
        let object =
            RawValue::from_string(call.arguments.clone()).ok().filter(|raw| raw.get().starts_with('{'));
        let arguments = object.or_else(|| to_raw_value(&serde_json::json!({})).ok()).unwrap_or_default();
        Self { id: &call.id, function: Function { name: &call.name, arguments } }
    }
}

/// Times are nanoseconds.
#[derive(Serialize)]
struct End {
    done_reason: &'static str,
    total_duration: u64,
    load_duration: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<u32>,
    prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_count: Option<u32>,
    eval_duration: u64,
}
