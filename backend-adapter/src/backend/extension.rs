//! Parameters of a model server's own. Both kinds drop names that they do not know, in silence; so only those
//! that are known here are sent, and none that names a caller, a priority or a place on the machine.

use std::collections::BTreeMap;

use proto::inference::v1::{ChatSpec, extension_value::Value};
use serde::Serialize;
use serde_json::value::RawValue;
use service_runtime::BackendKind;

use super::spec::{invalid, unsupported};
use crate::error::BackendError;

/// Parameters of vLLM's chat requests, beside the request's others.
const OPENAI: &[&str] = &[
    "add_generation_prompt",
    "add_special_tokens",
    "allowed_token_ids",
    "bad_words",
    "chat_template_kwargs",
    "continue_final_message",
    "documents",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "length_penalty",
    "min_tokens",
    "parallel_tool_calls",
    "repetition_penalty",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop_token_ids",
    "thinking_token_budget",
    "truncate_prompt_tokens",
];
/// Options of Ollama's, beside the request's others.
const OLLAMA: &[&str] = &["num_ctx", "num_keep", "repeat_last_n", "repeat_penalty", "typical_p"];

/// The names that are sent to a model server of this kind.
pub fn known_extensions(kind: BackendKind) -> &'static [&'static str] {
    match kind {
        BackendKind::Openai => OPENAI,
        BackendKind::Ollama => OLLAMA,
    }
}

/// A value as it goes into the request.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Extension<'a> {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(&'a str),
    Json(&'a RawValue),
}

/// The request's extensions, each of which must be known.
pub(super) fn extensions<'a>(
    spec: &'a ChatSpec,
    kind: BackendKind,
) -> Result<BTreeMap<&'a str, Extension<'a>>, BackendError> {
    let read = |(name, value): (&'a String, &'a proto::inference::v1::ExtensionValue)| {
        let field = format!("spec.extensions[{name}]");
        if !known_extensions(kind).contains(&name.as_str()) {
            return Err(unsupported(field, "is none that Cube knows for this model server (docs/apis.md)"));
        }
        let value =
            value.value.as_ref().and_then(extension).ok_or_else(|| invalid(field, "holds no value"))?;
        Ok((name.as_str(), value))
    };
    spec.extensions.iter().map(read).collect()
}

fn extension(value: &Value) -> Option<Extension<'_>> {
    Some(match value {
        Value::Boolean(value) => Extension::Boolean(*value),
        Value::Integer(value) => Extension::Integer(*value),
        Value::Number(value) => Extension::Number(*value),
        Value::Text(value) => Extension::Text(value),
        Value::Json(value) => Extension::Json(serde_json::from_str(value).ok()?),
    })
}
