//! Answers in OpenAI's form: `chat.completion` and `chat.completion.chunk`.

use bytes::Bytes;
use proto::inference::v1::{
    ChatEvent, ChatResponse, FinishReason, ToolCall, Usage, chat_event::Event, content_part::Part,
};
use serde::Serialize;

/// What every chunk of an answer repeats.
pub(super) struct Chunks {
    id: String,
    created: i64,
    model: String,
    /// Whether the caller asked for `usage`.
    include_usage: bool,
}

/// The end marker of a complete stream.
pub(super) const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

impl Chunks {
    pub(super) fn new(created: i64, include_usage: bool) -> Self {
        Self { id: String::new(), created, model: String::new(), include_usage }
    }

    /// The event as a frame of server-sent events; `None` where OpenAI's form has no such chunk.
    pub(super) fn frame(&mut self, event: ChatEvent) -> Option<Bytes> {
        match event.event? {
            Event::Started(started) => {
                (self.id, self.model) = (started.request_id, started.model);
                let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
                self.choice(delta, None)
            }
            Event::Text(delta) => self.choice(Delta { content: Some(&delta.text), ..Delta::default() }, None),
            Event::Reasoning(delta) => {
                self.choice(Delta { reasoning: Some(&delta.text), ..Delta::default() }, None)
            }
            Event::ToolCallStarted(call) => {
                let function = Function { name: Some(&call.name), arguments: "" };
                let (id, r#type) = (Some(call.id.as_str()), Some("function"));
                self.call(CallDelta { index: call.index, id, r#type, function })
            }
            Event::ToolCallDelta(delta) => {
                let function = Function { name: None, arguments: &delta.arguments };
                self.call(CallDelta { index: delta.index, id: None, r#type: None, function })
            }
            Event::Finished(finished) => {
                self.choice(Delta::default(), Some(finish_reason(finished.reason())))
            }
            // Not asked for: the request could not say it.
            Event::Logprobs(_) => None,
            Event::Usage(usage) => self.include_usage.then(|| self.frame_of(&[], Some(&usage))).flatten(),
        }
    }

    fn call(&self, call: CallDelta<'_>) -> Option<Bytes> {
        self.choice(Delta { tool_calls: Some([call]), ..Delta::default() }, None)
    }

    fn choice(&self, delta: Delta<'_>, finish_reason: Option<&'static str>) -> Option<Bytes> {
        self.frame_of(&[ChunkChoice { index: 0, delta, logprobs: None, finish_reason }], None)
    }

    fn frame_of(&self, choices: &[ChunkChoice<'_>], usage: Option<&Usage>) -> Option<Bytes> {
        let usage = if self.include_usage { Asked::Yes(usage.map(UsageBody::from)) } else { Asked::No };
        let object = "chat.completion.chunk";
        data(&Chunk { id: &self.id, object, created: self.created, model: &self.model, choices, usage })
    }
}

/// A value as one `data:` frame. Compact JSON holds no line break.
fn data(value: &impl Serialize) -> Option<Bytes> {
    let mut frame = b"data: ".to_vec();
    serde_json::to_writer(&mut frame, value).ok()?;
    frame.extend_from_slice(b"\n\n");
    Some(frame.into())
}

/// The body of an answer that was not streamed.
pub(super) fn completion(answer: &ChatResponse, created: i64) -> Vec<u8> {
    let finish_reason = finish_reason(answer.finish_reason());
    let choices = [Choice { index: 0, message: Turn::from(answer), logprobs: None, finish_reason }];
    let body = Completion {
        id: &answer.request_id,
        object: "chat.completion",
        created,
        model: &answer.model,
        choices,
        usage: answer.usage.as_ref().map(UsageBody::from),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Stop | FinishReason::Unspecified => "stop",
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Asked::is_no")]
    usage: Asked,
}

/// `usage` of a chunk: null in each but the last, and absent where it was not asked for.
#[derive(Serialize)]
#[serde(untagged)]
enum Asked {
    No,
    Yes(Option<UsageBody>),
}

impl Asked {
    fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Turn<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
}

impl<'a> From<&'a ChatResponse> for Turn<'a> {
    fn from(answer: &'a ChatResponse) -> Self {
        let message = answer.message.as_ref();
        let tool_calls: Vec<_> =
            message.iter().flat_map(|message| &message.tool_calls).map(Call::from).collect();
        let text = message.and_then(|message| match message.content.first()?.part.as_ref()? {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) | Part::Audio(_) => None,
        });
        // An answer that is nothing but calls has no content; an empty one has the empty text.
        let content = text.or(tool_calls.is_empty().then_some(""));
        Self { role: "assistant", content, refusal: None, reasoning: &answer.reasoning, tool_calls }
    }
}

impl<'a> From<&'a ToolCall> for Call<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let function = Function { name: Some(&call.name), arguments: &call.arguments };
        Self { id: &call.id, r#type: "function", function }
    }
}

#[derive(Serialize)]
struct UsageBody {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u32,
}

impl From<&Usage> for UsageBody {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
            prompt_tokens_details: usage.cached_tokens.map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: usage
                .reasoning_tokens
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}

#[cfg(test)]
mod tests;
