//! `POST /v1/chat/completions`: OpenAI's request as a [`ValidSpec`].
//!
//! Strict: what Cube does not know, and what it knows and cannot honour, is refused
//! by name; nothing is dropped in silence.

use proto::inference::v1::{ChatSpec, ReasoningEffort, Sampling};

use super::{error::ApiError, message, tools};
use crate::{
    json::{self, Object},
    spec::ValidSpec,
};

/// A request, read.
pub(super) struct Completion {
    pub(super) spec: ValidSpec,
    pub(super) stream: bool,
    /// `stream_options.include_usage`.
    pub(super) include_usage: bool,
    /// Parameters that were read and not passed on, for the answer to name.
    pub(super) left_out: Option<&'static str>,
}

/// Parameters of OpenAI's API that Cube cannot honour, each with the values (as
/// JSON) that say what is the case anyway.
const NOT_HONOURED: &[(&str, &[&str])] = &[
    ("audio", &[]),
    ("function_call", &[]),
    ("functions", &[]),
    ("logit_bias", &["{}"]),
    ("logprobs", &["false"]),
    ("metadata", &["{}"]),
    ("modalities", &[r#"["text"]"#]),
    ("moderation", &[]),
    ("n", &["1"]),
    ("parallel_tool_calls", &["true"]),
    ("prediction", &[]),
    ("prompt_cache_key", &[]),
    ("prompt_cache_options", &[]),
    ("prompt_cache_retention", &[]),
    ("safety_identifier", &[]),
    ("service_tier", &[r#""auto""#, r#""default""#]),
    ("store", &["false"]),
    ("top_logprobs", &["0"]),
    ("user", &[]),
    ("verbosity", &[]),
    ("web_search_options", &[]),
];

/// Reads a request body.
pub(super) fn parse(body: &[u8]) -> Result<Completion, ApiError> {
    let mut object = json::document(body)?.object()?;
    object.only_neutral(NOT_HONOURED)?;
    let stream = object.take("stream").map_or(Ok(false), |field| field.boolean())?;
    let include_usage = stream_options(&mut object, stream)?;
    let (spec, left_out) = chat_spec(&mut object)?;
    object.finish()?;
    Ok(Completion { spec: ValidSpec::check(spec)?, stream, include_usage, left_out })
}

fn chat_spec(object: &mut Object<'_>) -> Result<(ChatSpec, Option<&'static str>), ApiError> {
    let model = object.require("model")?.string()?;
    let read: Vec<_> =
        object.require("messages")?.array()?.into_iter().map(message::parse).collect::<Result<_, _>>()?;
    let left_out = read.iter().find_map(|message| message.left_out);
    let spec = ChatSpec {
        model,
        messages: read.into_iter().map(|read| read.message).collect(),
        sampling: Some(sampling(object)?),
        tools: tools::tools(object)?,
        tool_choice: tools::tool_choice(object)?,
        response_format: tools::response_format(object)?,
        reasoning_effort: object.choice("reasoning_effort", EFFORTS)?.unwrap_or_default().into(),
        ..ChatSpec::default()
    };
    Ok((spec, left_out))
}

const EFFORTS: &[(&str, ReasoningEffort)] = &[
    ("none", ReasoningEffort::None),
    // Cube has no finer grade below "low".
    ("minimal", ReasoningEffort::Low),
    ("low", ReasoningEffort::Low),
    ("medium", ReasoningEffort::Medium),
    ("high", ReasoningEffort::High),
];

fn stream_options(object: &mut Object<'_>, stream: bool) -> Result<bool, ApiError> {
    let Some(field) = object.take("stream_options") else { return Ok(false) };
    if !stream {
        return Err(ApiError::invalid(field.path(), "stream_options needs stream to be true"));
    }
    let mut options = field.object()?;
    let include_usage = options.take("include_usage").map_or(Ok(false), |field| field.boolean())?;
    options.only_neutral(&[("include_obfuscation", &["false"])])?;
    options.finish()?;
    Ok(include_usage)
}

fn sampling(object: &mut Object<'_>) -> Result<Sampling, ApiError> {
    let mut number = |name| object.take(name).map(|field| field.number()).transpose();
    let (temperature, top_p, min_p) = (number("temperature")?, number("top_p")?, number("min_p")?);
    let (presence_penalty, frequency_penalty) = (number("presence_penalty")?, number("frequency_penalty")?);
    Ok(Sampling {
        temperature,
        top_p,
        min_p,
        presence_penalty,
        frequency_penalty,
        top_k: object.take("top_k").map(|field| field.count()).transpose()?,
        seed: object.take("seed").map(|field| field.integer()).transpose()?,
        max_tokens: max_tokens(object)?,
        stop: stop(object)?,
        ..Sampling::default()
    })
}

fn max_tokens(object: &mut Object<'_>) -> Result<Option<u32>, ApiError> {
    let mut count = |name| object.take(name).map(|field| field.count()).transpose();
    match (count("max_completion_tokens")?, count("max_tokens")?) {
        (Some(new), Some(old)) if new != old => {
            Err(ApiError::invalid("max_tokens", "max_tokens and max_completion_tokens differ; give one"))
        }
        (new, old) => Ok(new.or(old)),
    }
}

fn stop(object: &mut Object<'_>) -> Result<Vec<String>, ApiError> {
    match object.take("stop") {
        None => Ok(Vec::new()),
        Some(field) if field.is_string() => Ok(vec![field.string()?]),
        Some(field) => field.array()?.iter().map(json::Field::string).collect(),
    }
}

#[cfg(test)]
mod tests;
