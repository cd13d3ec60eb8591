//! What every dialect requires of a request.

use proto::inference::v1::{ChatSpec, content_part::Part};
use serde_json::value::RawValue;

use crate::error::BackendError;

/// Refuses what no model server could make sense of: the gateway's own rules, which hold for
/// whatever the gateway would let pass.
pub(super) fn check(spec: &ChatSpec) -> Result<(), BackendError> {
    proto::spec::check(spec).map_err(|error| invalid(format!("spec.{}", error.field), error.problem))
}

/// Bytes of text in the prompt.
pub(super) fn text_bytes(spec: &ChatSpec) -> usize {
    let parts = spec.messages.iter().flat_map(|message| &message.content);
    parts.map(|part| if let Some(Part::Text(text)) = &part.part { text.len() } else { 0 }).sum()
}

/// A JSON schema as it stands, to be sent on byte for byte.
pub(super) fn schema_text<'a>(field: &str, schema: &'a str) -> Result<&'a RawValue, BackendError> {
    json_object(schema).ok_or_else(|| invalid(field, "is not the JSON text of an object"))
}

/// `text` as it stands, if it is a JSON object.
pub(super) fn json_object(text: &str) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    raw.get().starts_with('{').then_some(raw)
}

pub(super) fn invalid(field: impl Into<String>, problem: &'static str) -> BackendError {
    BackendError::InvalidField { field: field.into(), problem }
}

pub(super) fn unsupported(field: impl Into<String>, problem: &'static str) -> BackendError {
    BackendError::Unsupported { field: field.into(), problem }
}
