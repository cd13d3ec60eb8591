//! A chat request in OpenAI's dialect, with vLLM's additional sampling fields.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine, display::Base64Display, engine::general_purpose::STANDARD};
use proto::inference::v1::{
    self as v1, Audio, ChatSpec, ContentPart, Image, JsonSchema, ReasoningEffort, Role, Sampling,
    ToolChoiceMode, content_part::Part, response_format::Format, tool_choice::Choice,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json, value::RawValue};
use service_runtime::BackendKind;

use super::super::{
    extension::{Extension, extensions},
    spec::{invalid, schema_text},
};
use crate::error::BackendError;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(flatten)]
    sampling: SamplingFields<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_outputs: Option<Constraint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(flatten)]
    logprobs: Option<Logprobs>,
    #[serde(flatten)]
    extensions: BTreeMap<&'a str, Extension<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    cache_salt: &'a str,
}

#[derive(Serialize)]
struct Logprobs {
    logprobs: bool,
    top_logprobs: u32,
}

/// vLLM's own, since OpenAI has no such forms.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Constraint<'a> {
    Regex(&'a str),
    Grammar(&'a str),
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct SamplingFields<'a> {
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
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_bias: Option<&'a HashMap<u32, f32>>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_call_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Nothing,
    Text(&'a str),
    Parts(Vec<ContentItem<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentItem<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
    InputAudio { input_audio: InputAudio<'a> },
}

#[derive(Serialize)]
struct InputAudio<'a> {
    data: String,
    format: &'a str,
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: DataUrl<'a>,
}

/// An image as `data:` URL, written without a copy in between.
struct DataUrl<'a>(&'a Image);

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = Base64Display::new(&self.0.data, &STANDARD);
        serializer.collect_str(&format_args!("data:{};base64,{data}", self.0.media_type))
    }
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    strict: bool,
    schema: &'a RawValue,
}

/// The body of a streamed chat request. Usage is always asked for: without it there is no
/// exact count.
pub(in crate::backend) fn request(spec: &ChatSpec, cache_salt: &str) -> Result<Vec<u8>, BackendError> {
    let body = Body {
        model: &spec.model,
        messages: spec.messages.iter().map(message).collect::<Result<_, _>>()?,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        sampling: sampling(spec.sampling.as_ref()),
        tools: spec.tools.iter().map(tool).collect::<Result<_, _>>()?,
        tool_choice: spec.tool_choice.as_ref().and_then(tool_choice),
        response_format: response_format(spec)?,
        structured_outputs: constraint(spec),
        reasoning_effort: reasoning_effort(spec.reasoning_effort()),
        n: spec.n,
        logprobs: spec.top_logprobs.map(|top_logprobs| Logprobs { logprobs: true, top_logprobs }),
        extensions: extensions(spec, BackendKind::Openai)?,
        cache_salt,
    };
    serde_json::to_vec(&body).map_err(|_| invalid("spec", "cannot be written as JSON"))
}

fn sampling(sampling: Option<&Sampling>) -> SamplingFields<'_> {
    SamplingFields {
        temperature: sampling.and_then(|s| s.temperature),
        top_p: sampling.and_then(|s| s.top_p),
        top_k: sampling.and_then(|s| s.top_k),
        min_p: sampling.and_then(|s| s.min_p),
        presence_penalty: sampling.and_then(|s| s.presence_penalty),
        frequency_penalty: sampling.and_then(|s| s.frequency_penalty),
        seed: sampling.and_then(|s| s.seed),
        max_completion_tokens: sampling.and_then(|s| s.max_tokens),
        stop: sampling.map_or(&[], |s| &s.stop),
        logit_bias: sampling.map(|s| &s.logit_bias).filter(|bias| !bias.is_empty()),
    }
}

fn message(message: &v1::Message) -> Result<Message<'_>, BackendError> {
    Ok(Message {
        role: role(message.role())?,
        content: content(message)?,
        tool_calls: message.tool_calls.iter().map(tool_call).collect(),
        tool_call_id: &message.tool_call_id,
        name: &message.name,
    })
}

fn role(role: Role) -> Result<&'static str, BackendError> {
    match role {
        Role::System => Ok("system"),
        Role::User => Ok("user"),
        Role::Assistant => Ok("assistant"),
        Role::Tool => Ok("tool"),
        Role::Unspecified => Err(invalid("spec.messages.role", "is not set")),
    }
}

fn content(message: &v1::Message) -> Result<Content<'_>, BackendError> {
    match message.content.as_slice() {
        [] if !message.tool_calls.is_empty() => Ok(Content::Nothing),
        [] => Ok(Content::Text("")),
        [ContentPart { part: Some(Part::Text(text)) }] => Ok(Content::Text(text)),
        parts => Ok(Content::Parts(parts.iter().map(item).collect::<Result<_, _>>()?)),
    }
}

fn item(part: &ContentPart) -> Result<ContentItem<'_>, BackendError> {
    match &part.part {
        Some(Part::Text(text)) => Ok(ContentItem::Text { text }),
        Some(Part::Image(image)) => Ok(ContentItem::ImageUrl { image_url: ImageUrl { url: DataUrl(image) } }),
        Some(Part::Audio(audio)) => Ok(ContentItem::InputAudio { input_audio: input_audio(audio) }),
        None => Err(invalid("spec.messages.content", "is empty")),
    }
}

fn input_audio(audio: &Audio) -> InputAudio<'_> {
    let format = if audio.media_type == "audio/mpeg" { "mp3" } else { "wav" };
    InputAudio { data: STANDARD.encode(&audio.data), format }
}

fn tool_call(call: &v1::ToolCall) -> ToolCall<'_> {
    let function = CalledFunction { name: &call.name, arguments: &call.arguments };
    ToolCall { id: &call.id, r#type: "function", function }
}

fn tool(tool: &v1::Tool) -> Result<Tool<'_>, BackendError> {
    let schema = Some(tool.parameters_json_schema.as_str()).filter(|schema| !schema.is_empty());
    let parameters =
        schema.map(|schema| schema_text("spec.tools.parameters_json_schema", schema)).transpose()?;
    let function = Function { name: &tool.name, description: &tool.description, parameters };
    Ok(Tool { r#type: "function", function })
}

fn tool_choice(choice: &v1::ToolChoice) -> Option<Value> {
    match choice.choice.as_ref()? {
        Choice::Function(name) => Some(json!({"type": "function", "function": {"name": name}})),
        Choice::Mode(mode) => match ToolChoiceMode::try_from(*mode).ok()? {
            ToolChoiceMode::Unspecified => None,
            ToolChoiceMode::Auto => Some("auto".into()),
            ToolChoiceMode::None => Some("none".into()),
            ToolChoiceMode::Required => Some("required".into()),
        },
    }
}

fn response_format(spec: &ChatSpec) -> Result<Option<ResponseFormat<'_>>, BackendError> {
    match spec.response_format.as_ref().and_then(|format| format.format.as_ref()) {
        None | Some(Format::Regex(_) | Format::Grammar(_)) => Ok(None),
        Some(Format::JsonObject(_)) => Ok(Some(ResponseFormat::JsonObject)),
        Some(Format::JsonSchema(JsonSchema { name, schema })) => {
            let name = if name.is_empty() { "answer" } else { name };
            let schema = schema_text("spec.response_format.json_schema.schema", schema)?;
            Ok(Some(ResponseFormat::JsonSchema { json_schema: NamedSchema { name, strict: true, schema } }))
        }
    }
}

fn constraint(spec: &ChatSpec) -> Option<Constraint<'_>> {
    match spec.response_format.as_ref()?.format.as_ref()? {
        Format::Regex(regex) => Some(Constraint::Regex(regex)),
        Format::Grammar(grammar) => Some(Constraint::Grammar(grammar)),
        Format::JsonObject(_) | Format::JsonSchema(_) => None,
    }
}

fn reasoning_effort(effort: ReasoningEffort) -> Option<&'static str> {
    match effort {
        ReasoningEffort::Unspecified => None,
        ReasoningEffort::None => Some("none"),
        ReasoningEffort::Low => Some("low"),
        ReasoningEffort::Medium => Some("medium"),
        ReasoningEffort::High => Some("high"),
    }
}
