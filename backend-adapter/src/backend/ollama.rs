//! Ollama's native chat interface.
//!
//! Its own OpenAI shim is not used: it swallows errors in mid-stream and forces sampling values.

mod request;

use proto::inference::v1::FinishReason;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    answer::{Answer, Counts, Fragment},
    logprobs::Logprob,
    refusal,
};
use crate::error::{BackendError, Cause};

pub(super) use request::request;

#[derive(Deserialize)]
struct Line<'a> {
    error: Option<Value>,
    model: Option<String>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    logprobs: Option<Vec<Logprob>>,
    done: Option<bool>,
    done_reason: Option<String>,
    prompt_eval_count: Option<u32>,
    eval_count: Option<u32>,
}

#[derive(Deserialize)]
struct Message<'a> {
    content: Option<String>,
    thinking: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Reads one line. A failure after the first line is a line of its own, with `error` and
/// without `done`.
pub(super) fn frame(line: &[u8], answer: &mut Answer) -> Result<(), BackendError> {
    let line: Line<'_> = serde_json::from_slice(line)
        .map_err(|_| BackendError::Protocol("a line that is not a chat response"))?;
    if let Some(error) = line.error {
        return Err(refusal::in_answer(&error));
    }
    let done = line.done.ok_or(BackendError::Protocol("a line without done"))?;
    answer.start(line.model);
    if let Some(message) = line.message {
        answer.reasoning(message.thinking);
        answer.text(message.content);
        for call in message.tool_calls.unwrap_or_default() {
            read_call(call, answer)?;
        }
    }
    answer.logprobs(line.logprobs);
    if !done {
        return Ok(());
    }
    // Zero counts are left out, and so are those that were never taken.
    let (prompt, completion) = (line.prompt_eval_count, line.eval_count);
    answer.counts(Counts { prompt, completion, ..Counts::default() });
    answer.finish(finish(line.done_reason.as_deref())?);
    answer.complete()
}

/// Reads the answer of `/api/tags`: the names.
pub(super) fn models(body: &[u8]) -> Result<Vec<String>, BackendError> {
    #[derive(Deserialize)]
    struct List {
        models: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
    }
    let list: List =
        serde_json::from_slice(body).map_err(|_| BackendError::Protocol("no list of models at /api/tags"))?;
    Ok(list.models.into_iter().map(|entry| entry.name).collect())
}

/// Calls come whole. The index that Ollama gives them is not used: old versions repeat it.
fn read_call(call: ToolCall<'_>, answer: &mut Answer) -> Result<(), BackendError> {
    let arguments = call.function.arguments.map_or("{}", RawValue::get);
    if !arguments.starts_with('{') {
        return Err(BackendError::Protocol("tool arguments that are not an object"));
    }
    let id = call.id.filter(|id| !id.is_empty());
    answer.whole_tool_call(Fragment { index: None, id, name: Some(call.function.name) }, arguments.to_owned())
}

fn finish(reason: Option<&str>) -> Result<FinishReason, BackendError> {
    match reason {
        Some("stop") => Ok(FinishReason::Stop),
        Some("length") => Ok(FinishReason::Length),
        // Ollama's word for a runner that went away.
        None | Some("") => Err(BackendError::Truncated("its model runner stopped without a reason")),
        Some("load" | "unload") => {
            Err(BackendError::Failed(Cause::Answer("it loaded or unloaded the model instead of answering")))
        }
        Some(_) => Err(BackendError::Protocol("an unknown done_reason")),
    }
}
