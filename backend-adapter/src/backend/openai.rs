//! OpenAI's chat interface, as vLLM and llama.cpp serve it.

mod request;

use proto::inference::v1::FinishReason;
use serde::Deserialize;
use serde_json::Value;

use super::{
    answer::{Answer, Counts, Fragment},
    logprobs::Logprob,
    refusal,
};
use crate::error::{BackendError, Cause};

pub(super) use request::request;

#[derive(Deserialize)]
struct Chunk {
    error: Option<Value>,
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Logprob>>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning: Option<String>,
    /// The older name of `reasoning`; a server that sends both sends the same text twice.
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    index: Option<u32>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Default, Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u32>,
}

/// Reads one event's data.
///
/// An error comes as a frame of its own inside the 200 answer, and `[DONE]` after it: the marker
/// alone proves nothing, which is why the error ends the reading.
pub(super) fn frame(data: &[u8], answer: &mut Answer) -> Result<(), BackendError> {
    match data {
        b"[DONE]" => return answer.complete(),
        b"" => return Ok(()),
        _ => {}
    }
    let chunk: Chunk = serde_json::from_slice(data)
        .map_err(|_| BackendError::Protocol("an event that is not a chat completion chunk"))?;
    if let Some(error) = chunk.error {
        return Err(refusal::in_answer(&error));
    }
    let choices = chunk.choices.ok_or(BackendError::Protocol("a chunk without choices"))?;
    answer.start(chunk.model);
    choices.into_iter().try_for_each(|choice| read_choice(choice, answer))?;
    if let Some(usage) = chunk.usage {
        answer.counts(usage);
    }
    Ok(())
}

/// Reads the answer of `/v1/models`: the names.
pub(super) fn models(body: &[u8]) -> Result<Vec<String>, BackendError> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        id: String,
    }
    let list: List = serde_json::from_slice(body)
        .map_err(|_| BackendError::Protocol("no list of models at /v1/models"))?;
    Ok(list.data.into_iter().map(|entry| entry.id).collect())
}

fn read_choice(choice: Choice, answer: &mut Answer) -> Result<(), BackendError> {
    answer.choice(choice.index)?;
    if let Some(delta) = choice.delta {
        let reasoning = delta.reasoning.filter(|text| !text.is_empty());
        answer.reasoning(reasoning.or(delta.reasoning_content));
        answer.text(delta.content);
        for call in delta.tool_calls.unwrap_or_default() {
            read_call(call, answer)?;
        }
    }
    answer.logprobs(choice.logprobs.and_then(|logprobs| logprobs.content));
    match choice.finish_reason {
        Some(reason) => finish(&reason).map(|reason| answer.finish(reason)),
        None => Ok(()),
    }
}

fn read_call(call: ToolCall, answer: &mut Answer) -> Result<(), BackendError> {
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let function = call.function.unwrap_or_default();
    let fragment = Fragment { index: call.index, id: said(call.id), name: said(function.name) };
    answer.tool_call(fragment, function.arguments.unwrap_or_default())
}

fn finish(reason: &str) -> Result<FinishReason, BackendError> {
    match reason {
        "stop" => Ok(FinishReason::Stop),
        "length" => Ok(FinishReason::Length),
        "tool_calls" => Ok(FinishReason::ToolCalls),
        "abort" | "error" => Err(BackendError::Failed(Cause::Answer("it aborted the answer"))),
        "content_filter" => Err(BackendError::Refused(Cause::Answer("its content filter cut the answer"))),
        _ => Err(BackendError::Protocol("an unknown finish_reason")),
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Usage::deserialize(from).map(Self::from)
    }
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        Self {
            prompt: usage.prompt_tokens,
            completion: usage.completion_tokens,
            cached: usage.prompt_tokens_details.and_then(|details| details.cached_tokens),
            reasoning: usage.completion_tokens_details.and_then(|details| details.reasoning_tokens),
        }
    }
}
