//! A chat request in Ollama's native dialect.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine, engine::general_purpose::STANDARD};
use proto::inference::v1::{
    self as v1, ChatSpec, ContentPart, ReasoningEffort, Role, ToolChoice, ToolChoiceMode, content_part::Part,
    response_format::Format, tool_choice::Choice,
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use service_runtime::BackendKind;

use super::super::{
    extension::{Extension, extensions},
    spec::{invalid, json_object, schema_text, unsupported},
};
use crate::error::BackendError;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    /// Left to itself, Ollama drops the oldest messages that do not fit and then the oldest
    /// tokens, in silence.
    truncate: bool,
    shift: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Shape<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Value>,
    #[serde(flatten)]
    logprobs: Option<Logprobs>,
    options: Options<'a>,
}

#[derive(Serialize)]
struct Logprobs {
    logprobs: bool,
    top_logprobs: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shape<'a> {
    Word(&'static str),
    Schema(&'a RawValue),
}

#[derive(Serialize)]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(flatten)]
    extensions: BTreeMap<&'a str, Extension<'a>>,
}

#[derive(Default, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_call_id: &'a str,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    index: usize,
    name: &'a str,
    arguments: &'a RawValue,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
}

/// The body of a streamed chat request.
pub(in crate::backend) fn request(spec: &ChatSpec) -> Result<Vec<u8>, BackendError> {
    if spec.n.is_some_and(|n| n > 1) {
        return Err(unsupported("spec.n", "Ollama gives one answer to a question"));
    }
    let body = Body {
        model: &spec.model,
        messages: messages(spec)?,
        stream: true,
        truncate: false,
        shift: false,
        tools: tools(spec)?,
        format: format(spec)?,
        think: think(spec.reasoning_effort()),
        logprobs: spec.top_logprobs.map(|top_logprobs| Logprobs { logprobs: true, top_logprobs }),
        options: options(spec)?,
    };
    serde_json::to_vec(&body).map_err(|_| invalid("spec", "cannot be written as JSON"))
}

fn options(spec: &ChatSpec) -> Result<Options<'_>, BackendError> {
    let sampling = spec.sampling.as_ref();
    if sampling.is_some_and(|s| !s.logit_bias.is_empty()) {
        return Err(unsupported("spec.sampling.logit_bias", "Ollama cannot bias tokens"));
    }
    Ok(Options {
        temperature: sampling.and_then(|s| s.temperature),
        top_p: sampling.and_then(|s| s.top_p),
        top_k: sampling.and_then(|s| s.top_k),
        min_p: sampling.and_then(|s| s.min_p),
        presence_penalty: sampling.and_then(|s| s.presence_penalty),
        frequency_penalty: sampling.and_then(|s| s.frequency_penalty),
        seed: sampling.and_then(|s| s.seed).map(seed).transpose()?,
        num_predict: sampling.and_then(|s| s.max_tokens),
        stop: sampling.map_or(&[], |s| &s.stop),
        extensions: extensions(spec, BackendKind::Ollama)?,
    })
}

/// Ollama keeps 32 bits of a seed and reads all ones, and -1, as "random".
fn seed(seed: i64) -> Result<u32, BackendError> {
    let known = u32::try_from(seed).ok().filter(|seed| *seed != u32::MAX);
    known.ok_or_else(|| unsupported("spec.sampling.seed", "Ollama takes seeds from 0 to 4294967294"))
}

fn messages(spec: &ChatSpec) -> Result<Vec<Message<'_>>, BackendError> {
    let mut names = HashMap::new();
    let mut out = Vec::with_capacity(spec.messages.len());
    for (at, message) in spec.messages.iter().enumerate() {
        let field = format!("spec.messages[{at}]");
        names.extend(message.tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str())));
        let first = Message {
            role: role(message.role(), &field)?,
            tool_calls: tool_calls(message, &field)?,
            tool_name: tool_name(message, &names, &field)?,
            tool_call_id: &message.tool_call_id,
            ..Message::default()
        };
        in_parts(first, &message.content, &mut out).map_err(|problem| unsupported(field, problem))?;
    }
    Ok(out)
}

/// Ollama puts a message's images before its text, so an image after text begins a new message.
fn in_parts<'a>(
    mut message: Message<'a>,
    parts: &[ContentPart],
    out: &mut Vec<Message<'a>>,
) -> Result<(), &'static str> {
    for part in parts.iter().filter_map(|part| part.part.as_ref()) {
        match part {
            Part::Text(text) => message.content.push_str(text),
            Part::Image(image) => {
                if !message.content.is_empty() {
                    let next = Message { role: message.role, ..Message::default() };
                    out.push(std::mem::replace(&mut message, next));
                }
                message.images.push(STANDARD.encode(&image.data));
            }
            Part::Audio(_) => return Err("Ollama's chats take no recordings"),
        }
    }
    out.push(message);
    Ok(())
}

fn role(role: Role, field: &str) -> Result<&'static str, BackendError> {
    match role {
        Role::System => Ok("system"),
        Role::User => Ok("user"),
        Role::Assistant => Ok("assistant"),
        Role::Tool => Ok("tool"),
        Role::Unspecified => Err(invalid(format!("{field}.role"), "is not set")),
    }
}

fn tool_calls<'a>(message: &'a v1::Message, field: &str) -> Result<Vec<ToolCall<'a>>, BackendError> {
    let call = |(index, call): (usize, &'a v1::ToolCall)| {
        let text = if call.arguments.is_empty() { "{}" } else { call.arguments.as_str() };
        let arguments = json_object(text).ok_or_else(|| {
            invalid(format!("{field}.tool_calls[{index}].arguments"), "is not the JSON text of an object")
        })?;
        Ok(ToolCall { id: &call.id, function: CalledFunction { index, name: &call.name, arguments } })
    };
    message.tool_calls.iter().enumerate().map(call).collect()
}

/// A result names its tool; where the caller did not, an earlier call with that id did.
fn tool_name<'a>(
    message: &'a v1::Message,
    names: &HashMap<&str, &'a str>,
    field: &str,
) -> Result<&'a str, BackendError> {
    let named = !message.name.is_empty();
    match (message.role() == Role::Tool, named) {
        (true, true) => Ok(&message.name),
        (true, false) => names.get(message.tool_call_id.as_str()).copied().ok_or_else(|| {
            invalid(format!("{field}.tool_call_id"), "answers no earlier call; repeat its id, or set name")
        }),
        (false, true) => Err(unsupported(format!("{field}.name"), "Ollama has no names of speakers")),
        (false, false) => Ok(""),
    }
}

/// Without tools there can be no call, so `NONE` sends none; a forced call cannot be had.
fn tools(spec: &ChatSpec) -> Result<Vec<Tool<'_>>, BackendError> {
    match mode(spec.tool_choice.as_ref())? {
        ToolChoiceMode::None => Ok(Vec::new()),
        ToolChoiceMode::Unspecified | ToolChoiceMode::Auto => spec.tools.iter().map(tool).collect(),
        ToolChoiceMode::Required => Err(unsupported("spec.tool_choice.mode", "Ollama cannot require a call")),
    }
}

fn mode(choice: Option<&ToolChoice>) -> Result<ToolChoiceMode, BackendError> {
    match choice.and_then(|choice| choice.choice.as_ref()) {
        Some(Choice::Function(_)) => {
            Err(unsupported("spec.tool_choice.function", "Ollama cannot require a particular call"))
        }
        Some(Choice::Mode(mode)) => Ok(ToolChoiceMode::try_from(*mode).unwrap_or_default()),
        None => Ok(ToolChoiceMode::Unspecified),
    }
}

fn tool(tool: &v1::Tool) -> Result<Tool<'_>, BackendError> {
    const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;
    let schema = Some(tool.parameters_json_schema.as_str()).filter(|schema| !schema.is_empty());
    let parameters = schema_text("spec.tools.parameters_json_schema", schema.unwrap_or(NO_PARAMETERS))?;
    let function = Function { name: &tool.name, description: &tool.description, parameters };
    Ok(Tool { r#type: "function", function })
}

fn format(spec: &ChatSpec) -> Result<Option<Shape<'_>>, BackendError> {
    match spec.response_format.as_ref().and_then(|format| format.format.as_ref()) {
        None => Ok(None),
        Some(Format::JsonObject(_)) => Ok(Some(Shape::Word("json"))),
        Some(Format::JsonSchema(schema)) => {
            let schema = schema_text("spec.response_format.json_schema.schema", &schema.schema)?;
            Ok(Some(Shape::Schema(schema)))
        }
        Some(Format::Regex(_)) => {
            Err(unsupported("spec.response_format.regex", "Ollama has no regular expressions"))
        }
        Some(Format::Grammar(_)) => {
            Err(unsupported("spec.response_format.grammar", "Ollama has no grammars"))
        }
    }
}

fn think(effort: ReasoningEffort) -> Option<Value> {
    match effort {
        ReasoningEffort::Unspecified => None,
        ReasoningEffort::None => Some(false.into()),
        ReasoningEffort::Low => Some("low".into()),
        ReasoningEffort::Medium => Some("medium".into()),
        ReasoningEffort::High => Some("high".into()),
    }
}
