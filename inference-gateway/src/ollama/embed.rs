//! `/api/embed` and `/api/embeddings` by way of OpenAI's endpoint, for model servers that are no Ollama.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tonic::Status;

use super::request::LEFT_OUT;
use crate::{chat::broken, json, openai::error::ApiError};

/// A request, translated.
pub(super) struct Request {
    pub(super) body: Vec<u8>,
    pub(super) model: String,
    pub(super) left_out: Vec<&'static str>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a RawValue,
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

/// `legacy`: of `/api/embeddings`, which has one prompt.
pub(super) fn parse(body: &[u8], legacy: bool) -> Result<Request, ApiError> {
    let mut object = json::document(body)?.object()?;
    let left_out = LEFT_OUT.iter().copied().filter(|name| object.take(name).is_some()).collect();
    object.only_neutral(&[("truncate", &["true"]), ("options", &["{}"])])?;
    let model = object.require("model")?.string()?;
    let input = object.require(if legacy { "prompt" } else { "input" })?;
    if legacy {
        input.string()?;
    }
    let dimensions = object.take("dimensions").map(|field| field.count()).transpose()?;
    object.finish()?;
    let body = Body { model: &model, input: input.raw(), encoding_format: "float", dimensions };
    Ok(Request { body: serde_json::to_vec(&body).unwrap_or_default(), model, left_out })
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<Entry<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Many<'a> {
    model: &'a str,
    embeddings: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<u32>,
}

#[derive(Serialize)]
struct One<'a> {
    embedding: &'a RawValue,
}

/// The numbers go on as they came.
pub(super) fn answer(body: &[u8], model: &str, legacy: bool) -> Result<Vec<u8>, Status> {
    let answer: Answer<'_> =
        serde_json::from_slice(body).map_err(|_| broken("it is no list of embeddings"))?;
    let embeddings: Vec<_> = answer.data.iter().map(|entry| entry.embedding).collect();
    let json = match embeddings.first() {
        Some(embedding) if legacy => serde_json::to_vec(&One { embedding }),
        _ => serde_json::to_vec(&Many {
            model,
            embeddings,
            prompt_eval_count: answer.usage.and_then(|usage| usage.prompt_tokens),
        }),
    };
    json.map_err(|_| broken("it is no list of embeddings"))
}
