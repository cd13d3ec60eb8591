//! What every dialect requires of a request.

use std::ops::RangeInclusive;

use proto::inference::v1::{
    ChatSpec, Image, Message, ReasoningEffort, Role, Sampling, ToolChoiceMode, content_part::Part,
    response_format::Format, tool_choice::Choice,
};
use serde_json::value::RawValue;

use crate::error::BackendError;

type Check = Result<(), BackendError>;

/// Refuses what no model server could make sense of.
pub(super) fn check(spec: &ChatSpec) -> Check {
    require(!spec.model.is_empty(), || "spec.model".into(), "is empty; ListModels names the models")?;
    require(!spec.messages.is_empty(), || "spec.messages".into(), "is empty; at least one is needed")?;
    for (at, message) in spec.messages.iter().enumerate() {
        check_message(&format!("spec.messages[{at}]"), message)?;
    }
    check_sampling(&spec.sampling.clone().unwrap_or_default())?;
    check_tools(spec)?;
    let effort = ReasoningEffort::try_from(spec.reasoning_effort);
    require(effort.is_ok(), || "spec.reasoning_effort".into(), "is not one of REASONING_EFFORT_*")?;
    check_format(spec)
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

fn require(holds: bool, field: impl FnOnce() -> String, problem: &'static str) -> Check {
    if holds { Ok(()) } else { Err(invalid(field(), problem)) }
}

fn check_message(field: &str, message: &Message) -> Check {
    let role = message.role();
    let named = |name: &'static str| move || format!("{field}.{name}");
    require(role != Role::Unspecified, named("role"), "is not one of ROLE_SYSTEM, _USER, _ASSISTANT, _TOOL")?;
    for (at, part) in message.content.iter().enumerate() {
        let part_field = || format!("{field}.content[{at}]");
        match &part.part {
            Some(Part::Text(_)) => {}
            Some(Part::Image(image)) => {
                require(role == Role::User, part_field, "is an image; only ROLE_USER messages can hold one")?;
                check_image(&part_field(), image)?;
            }
            None => return Err(invalid(part_field(), "is empty; set text or image")),
        }
    }
    let (answers, id) = (role == Role::Tool, !message.tool_call_id.is_empty());
    require(answers == id, named("tool_call_id"), "is required for ROLE_TOOL and for no other role")?;
    let calls = message.tool_calls.is_empty() || role == Role::Assistant;
    require(calls, named("tool_calls"), "only ROLE_ASSISTANT messages can hold tool calls")?;
    for (at, call) in message.tool_calls.iter().enumerate() {
        let complete = !call.id.is_empty() && !call.name.is_empty();
        require(complete, || format!("{field}.tool_calls[{at}]"), "needs both id and name")?;
    }
    Ok(())
}

fn check_image(field: &str, image: &Image) -> Check {
    let subtype = image.media_type.strip_prefix("image/").unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
    let well_formed = !subtype.is_empty() && subtype.bytes().all(plain);
    require(well_formed, || format!("{field}.image.media_type"), "is not image/TYPE, such as image/png")?;
    require(!image.data.is_empty(), || format!("{field}.image.data"), "is empty")
}

fn check_sampling(sampling: &Sampling) -> Check {
    let Sampling { temperature, top_p, min_p, presence_penalty, frequency_penalty, .. } = sampling;
    in_range("temperature", *temperature, 0.0..=2.0, "is not from 0 to 2")?;
    in_range("top_p", *top_p, f32::MIN_POSITIVE..=1.0, "is not above 0 and up to 1")?;
    in_range("min_p", *min_p, 0.0..=1.0, "is not from 0 to 1")?;
    in_range("presence_penalty", *presence_penalty, -2.0..=2.0, "is not from -2 to 2")?;
    in_range("frequency_penalty", *frequency_penalty, -2.0..=2.0, "is not from -2 to 2")?;
    let field = |name: &'static str| move || format!("spec.sampling.{name}");
    require(sampling.max_tokens != Some(0), field("max_tokens"), "is 0; ask for one token or more")?;
    require(sampling.stop.len() <= 16, field("stop"), "has more than 16 strings")?;
    require(sampling.stop.iter().all(|stop| !stop.is_empty()), field("stop"), "has an empty string")
}

/// NaN is in no range.
fn in_range(name: &str, value: Option<f32>, range: RangeInclusive<f32>, problem: &'static str) -> Check {
    let holds = value.is_none_or(|value| range.contains(&value));
    require(holds, || format!("spec.sampling.{name}"), problem)
}

fn check_tools(spec: &ChatSpec) -> Check {
    for (at, tool) in spec.tools.iter().enumerate() {
        require(!tool.name.is_empty(), || format!("spec.tools[{at}].name"), "is empty")?;
        if !tool.parameters_json_schema.is_empty() {
            schema_text(&format!("spec.tools[{at}].parameters_json_schema"), &tool.parameters_json_schema)?;
        }
    }
    let Some(choice) = &spec.tool_choice else { return Ok(()) };
    let field = || "spec.tool_choice".to_owned();
    match &choice.choice {
        Some(Choice::Mode(mode)) => {
            let mode = ToolChoiceMode::try_from(*mode).unwrap_or_default();
            let known = mode != ToolChoiceMode::Unspecified;
            require(known, field, "is not one of TOOL_CHOICE_MODE_AUTO, _NONE, _REQUIRED")?;
            let possible = mode != ToolChoiceMode::Required || !spec.tools.is_empty();
            require(possible, field, "requires a call, and spec.tools is empty")
        }
        Some(Choice::Function(name)) => {
            let known = spec.tools.iter().any(|tool| tool.name == *name);
            require(known, field, "names a function that spec.tools does not hold")
        }
        None => Err(invalid(field(), "is empty; set mode or function")),
    }
}

fn check_format(spec: &ChatSpec) -> Check {
    match spec.response_format.as_ref().map(|format| &format.format) {
        None | Some(Some(Format::JsonObject(_))) => Ok(()),
        Some(Some(Format::JsonSchema(schema))) => {
            schema_text("spec.response_format.json_schema.schema", &schema.schema).map(drop)
        }
        Some(None) => Err(invalid("spec.response_format", "is empty; set json_object or json_schema")),
    }
}
