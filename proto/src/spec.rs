//! What a chat request must satisfy, whichever dialect it came in and whichever backend it goes to.

use serde_json::value::RawValue;
use tonic::{Code, Status};

use crate::inference::v1::{
    Audio, ChatSpec, ExtensionValue, Image, Message, ReasoningEffort, ResponseFormat, Role, Sampling, Tool,
    ToolCall, ToolChoice, ToolChoiceMode, content_part::Part, extension_value::Value,
    response_format::Format, tool_choice::Choice,
};
use crate::{reason, status_with};

/// Most items of any other list, however it came in.
pub const MAX_ITEMS: usize = 16_384;
/// Most stop strings.
const MAX_STOPS: usize = 16;
/// Most answers to one question.
const MAX_CHOICES: u32 = 16;
const MAX_TOP_LOGPROBS: u32 = 20;
const MAX_BIASES: usize = 1024;
const MAX_EXTENSIONS: usize = 64;

/// A field that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{field} {problem}")]
pub struct SpecError {
    /// Path from `ChatSpec`, such as `messages[2].role`.
    pub field: String,
    /// What is wrong and what it should be; nothing of the content.
    pub problem: &'static str,
}

impl From<SpecError> for Status {
    fn from(error: SpecError) -> Self {
        let message = format!("spec.{error}");
        let metadata = [("field", error.field.as_str())];
        status_with(Code::InvalidArgument, reason::INVALID_REQUEST, message, &metadata)
    }
}

/// Refuses a request that no backend could answer.
pub fn check(spec: &ChatSpec) -> Result<(), SpecError> {
    require(!spec.model.is_empty(), "model", "is required")?;
    require(!spec.messages.is_empty(), "messages", "must hold at least one message")?;
    few(&spec.messages, "messages")?;
    few(&spec.tools, "tools")?;
    for (at, message) in spec.messages.iter().enumerate() {
        self::message(message).map_err(|error| error.within(&format!("messages[{at}]")))?;
    }
    spec.sampling.as_ref().map_or(Ok(()), check_sampling)?;
    for (at, tool) in spec.tools.iter().enumerate() {
        self::tool(tool).map_err(|error| error.within(&format!("tools[{at}]")))?;
    }
    spec.tool_choice.as_ref().map_or(Ok(()), |choice| tool_choice(choice, &spec.tools))?;
    spec.response_format.as_ref().map_or(Ok(()), response_format)?;
    let effort = ReasoningEffort::try_from(spec.reasoning_effort);
    require(effort.is_ok(), "reasoning_effort", "is not a known value")?;
    require(spec.n.is_none_or(|n| (1..=MAX_CHOICES).contains(&n)), "n", "must be from 1 to 16")?;
    let few = spec.top_logprobs.is_none_or(|top| top <= MAX_TOP_LOGPROBS);
    require(few, "top_logprobs", "must be at most 20")?;
    require(spec.extensions.len() <= MAX_EXTENSIONS, "extensions", "holds more than 64 items")?;
    spec.extensions.iter().try_for_each(|(name, value)| extension(name, value))
}

/// The same of how tokens are drawn, which continuations of a text have too.
pub fn check_sampling(sampling: &Sampling) -> Result<(), SpecError> {
    self::sampling(sampling).map_err(|error| error.within("sampling"))
}

/// The name is the caller's, so it is told only where it can be one.
fn extension(name: &str, value: &ExtensionValue) -> Result<(), SpecError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = (1..=64).contains(&name.len()) && name.bytes().all(plain);
    require(is_name, "extensions", "holds a name that is not 1 to 64 of a-z, 0-9 and _")?;
    let problem = match &value.value {
        None => "holds no value",
        Some(Value::Number(number)) if !number.is_finite() => "must be finite",
        Some(Value::Json(text)) if serde_json::from_str::<&RawValue>(text).is_err() => "must be JSON",
        Some(_) => return Ok(()),
    };
    require(false, &format!("extensions[{name}]"), problem)
}

impl SpecError {
    fn within(self, parent: &str) -> Self {
        let field =
            if self.field.is_empty() { parent.to_owned() } else { format!("{parent}.{}", self.field) };
        Self { field, ..self }
    }
}

fn require(holds: bool, field: &str, problem: &'static str) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(SpecError { field: field.to_owned(), problem }) }
}

fn few<T>(items: &[T], field: &str) -> Result<(), SpecError> {
    require(items.len() <= MAX_ITEMS, field, "holds more than 16384 items")
}

fn message(message: &Message) -> Result<(), SpecError> {
    let role = Role::try_from(message.role).unwrap_or(Role::Unspecified);
    require(role != Role::Unspecified, "role", "must be one of the known roles")?;
    few(&message.content, "content")?;
    few(&message.tool_calls, "tool_calls")?;
    for (at, part) in message.content.iter().enumerate() {
        self::part(part.part.as_ref(), role).map_err(|error| error.within(&format!("content[{at}]")))?;
    }
    let assistant = role == Role::Assistant;
    require(assistant || message.tool_calls.is_empty(), "tool_calls", "belongs to assistant messages only")?;
    for (at, call) in message.tool_calls.iter().enumerate() {
        tool_call(call).map_err(|error| error.within(&format!("tool_calls[{at}]")))?;
    }
    let speaks = !message.content.is_empty() || !message.tool_calls.is_empty();
    require(speaks, "content", "is required")?;
    let answers_call = !message.tool_call_id.is_empty();
    require(answers_call || role != Role::Tool, "tool_call_id", "is required in a tool message")?;
    require(!answers_call || role == Role::Tool, "tool_call_id", "belongs to tool messages only")
}

fn part(part: Option<&Part>, role: Role) -> Result<(), SpecError> {
    match part {
        None => require(false, "", "holds neither text nor image nor audio"),
        Some(Part::Text(_)) => Ok(()),
        Some(Part::Image(image)) => {
            require(role == Role::User, "image", "belongs to user messages only")?;
            self::image(image).map_err(|error| error.within("image"))
        }
        Some(Part::Audio(audio)) => {
            require(role == Role::User, "audio", "belongs to user messages only")?;
            self::audio(audio).map_err(|error| error.within("audio"))
        }
    }
}

fn audio(audio: &Audio) -> Result<(), SpecError> {
    let known = matches!(audio.media_type.as_str(), "audio/wav" | "audio/mpeg");
    require(known, "media_type", "must be audio/wav or audio/mpeg")?;
    require(!audio.data.is_empty(), "data", "is empty")
}

fn image(image: &Image) -> Result<(), SpecError> {
    let subtype = image.media_type.strip_prefix("image/").unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let known = !subtype.is_empty() && subtype.len() <= 64 && subtype.bytes().all(plain);
    require(known, "media_type", "must be an image type such as image/png")?;
    require(!image.data.is_empty(), "data", "is empty")
}

fn tool_call(call: &ToolCall) -> Result<(), SpecError> {
    require(!call.id.is_empty(), "id", "is required")?;
    require(!call.name.is_empty(), "name", "is required")
}

fn sampling(sampling: &Sampling) -> Result<(), SpecError> {
    within(sampling.temperature, 0.0, 2.0, "temperature", "must be from 0 to 2")?;
    within(sampling.top_p, f32::MIN_POSITIVE, 1.0, "top_p", "must be above 0 and at most 1")?;
    within(sampling.min_p, 0.0, 1.0, "min_p", "must be from 0 to 1")?;
    within(sampling.presence_penalty, -2.0, 2.0, "presence_penalty", "must be from -2 to 2")?;
    within(sampling.frequency_penalty, -2.0, 2.0, "frequency_penalty", "must be from -2 to 2")?;
    require(sampling.top_k != Some(0), "top_k", "must be at least 1")?;
    require(sampling.max_tokens != Some(0), "max_tokens", "must be at least 1")?;
    require(sampling.stop.len() <= MAX_STOPS, "stop", "holds more than 16 strings")?;
    require(sampling.stop.iter().all(|stop| !stop.is_empty()), "stop", "holds an empty string")?;
    require(sampling.logit_bias.len() <= MAX_BIASES, "logit_bias", "holds more than 1024 tokens")?;
    let mut biases = sampling.logit_bias.values();
    biases.try_for_each(|bias| within(Some(*bias), -100.0, 100.0, "logit_bias", "must be from -100 to 100"))
}

/// NaN is within nothing.
fn within(
    value: Option<f32>,
    least: f32,
    most: f32,
    field: &str,
    problem: &'static str,
) -> Result<(), SpecError> {
    require(value.is_none_or(|value| (least..=most).contains(&value)), field, problem)
}

fn tool(tool: &Tool) -> Result<(), SpecError> {
    require(!tool.name.is_empty(), "name", "is required")?;
    let schema = &tool.parameters_json_schema;
    require(schema.is_empty() || is_json_object(schema), "parameters_json_schema", "must be a JSON object")
}

fn tool_choice(choice: &ToolChoice, tools: &[Tool]) -> Result<(), SpecError> {
    match &choice.choice {
        None => require(false, "tool_choice", "holds neither mode nor function"),
        Some(Choice::Function(name)) => require(
            tools.iter().any(|tool| tool.name == *name),
            "tool_choice",
            "names a tool that is not in tools",
        ),
        Some(Choice::Mode(mode)) => match ToolChoiceMode::try_from(*mode) {
            Ok(ToolChoiceMode::Required) => {
                require(!tools.is_empty(), "tool_choice", "requires a call and tools is empty")
            }
            Ok(ToolChoiceMode::Auto | ToolChoiceMode::None) => Ok(()),
            Ok(ToolChoiceMode::Unspecified) | Err(_) => require(false, "tool_choice", "is not a known mode"),
        },
    }
}

fn response_format(format: &ResponseFormat) -> Result<(), SpecError> {
    match &format.format {
        None => require(false, "response_format", "holds no format"),
        Some(Format::JsonObject(_)) => Ok(()),
        Some(Format::Regex(regex)) => require(!regex.is_empty(), "response_format.regex", "is empty"),
        Some(Format::Grammar(grammar)) => require(!grammar.is_empty(), "response_format.grammar", "is empty"),
        Some(Format::JsonSchema(schema)) => require(
            is_json_object(&schema.schema),
            "response_format.json_schema.schema",
            "must be a JSON object",
        ),
    }
}

fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get().starts_with('{'))
}

#[cfg(test)]
mod tests;
