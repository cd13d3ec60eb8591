//! `/api/chat` and `/api/generate` as a [`ValidSpec`], for model servers that are no Ollama.
//!
//! Strict, as OpenAI's translation is: what cannot be honoured is refused by name.

use base64::{Engine, engine::general_purpose::STANDARD};
use proto::inference::v1::{
    ChatSpec, ContentPart, Image, JsonObject, JsonSchema, Message, ReasoningEffort, ResponseFormat, Role,
    Sampling, Tool, ToolCall, content_part::Part, response_format::Format,
};

use super::answer::Shape;
use crate::{
    json::{self, Field, Object},
    openai::{error::ApiError, tools},
    spec::ValidSpec,
};

/// A request, read.
pub(super) struct Asked {
    /// None where nothing is asked: the model is to be loaded.
    pub(super) spec: Option<ValidSpec>,
    pub(super) stream: bool,
    /// Parameters that were read and not passed on.
    pub(super) left_out: Vec<&'static str>,
}

/// How long an Ollama keeps a model in memory; other model servers keep theirs.
pub(super) const LEFT_OUT: &[&str] = &["keep_alive"];

/// Parameters that cannot be honoured, each with the values that say what is the case anyway.
const NOT_HONOURED: &[(&str, &[&str])] = &[
    ("context", &["[]"]),
    ("logprobs", &["false"]),
    ("raw", &["false"]),
    ("shift", &["true"]),
    ("suffix", &[r#""""#]),
    ("template", &[r#""""#]),
    ("top_logprobs", &["0"]),
    ("truncate", &["true"]),
];

pub(super) fn parse(body: &[u8], shape: Shape) -> Result<Asked, ApiError> {
    let mut object = json::document(body)?.object()?;
    object.only_neutral(NOT_HONOURED)?;
    let left_out = LEFT_OUT.iter().copied().filter(|name| object.take(name).is_some()).collect();
    let stream = object.take("stream").map_or(Ok(true), |field| field.boolean())?;
    let messages = match shape {
        Shape::Chat => chat_messages(&mut object)?,
        Shape::Generate => prompt(&mut object)?,
    };
    let spec = ChatSpec {
        model: object.require("model")?.string()?,
        messages,
        sampling: object.take("options").map(sampling).transpose()?,
        tools: tool_list(&mut object)?,
        tool_choice: None,
        response_format: object.take("format").as_ref().map(format).transpose()?.flatten(),
        reasoning_effort: object
            .take("think")
            .as_ref()
            .map_or(Ok(ReasoningEffort::Unspecified), think)?
            .into(),
        ..ChatSpec::default()
    };
    object.finish()?;
    let asks =
        spec.messages.iter().any(|message| !message.content.is_empty() || !message.tool_calls.is_empty());
    let spec = if asks { Some(ValidSpec::check(spec)?) } else { None };
    Ok(Asked { spec, stream, left_out })
}

fn prompt(object: &mut Object<'_>) -> Result<Vec<Message>, ApiError> {
    let text =
        |object: &mut Object<'_>, name| object.take(name).map_or(Ok(String::new()), |field| field.string());
    let (system, prompt) = (text(object, "system")?, text(object, "prompt")?);
    let images = images(object)?;
    let mut messages = Vec::new();
    let asks = !prompt.is_empty() || !images.is_empty();
    if asks && !system.is_empty() {
        messages.push(said(Role::System, system, Vec::new()));
    }
    if asks {
        messages.push(said(Role::User, prompt, images));
    }
    Ok(messages)
}

fn said(role: Role, text: String, images: Vec<ContentPart>) -> Message {
    let text = (!text.is_empty()).then_some(ContentPart { part: Some(Part::Text(text)) });
    Message { role: role.into(), content: text.into_iter().chain(images).collect(), ..Message::default() }
}

const ROLES: &[(&str, Role)] =
    &[("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant), ("tool", Role::Tool)];

fn chat_messages(object: &mut Object<'_>) -> Result<Vec<Message>, ApiError> {
    let Some(field) = object.take("messages") else { return Ok(Vec::new()) };
    let mut calls = Calls::default();
    field.array()?.into_iter().map(|field| message(field, &mut calls)).collect()
}

fn message(field: Field<'_>, calls: &mut Calls) -> Result<Message, ApiError> {
    let path = field.path().to_owned();
    let mut object = field.object()?;
    let role = object.require("role")?.one_of(ROLES)?;
    let text = object.take("content").map_or(Ok(String::new()), |field| field.string())?;
    let mut message = said(role, text, images(&mut object)?);
    // Chat templates drop the reasoning of earlier turns.
    drop(object.take("thinking"));
    if let Some(field) = object.take("tool_calls") {
        message.tool_calls =
            field.array()?.into_iter().map(|call| calls.made(call)).collect::<Result<_, _>>()?;
    }
    let (name, id) = (object.take("tool_name"), object.take("tool_call_id"));
    if role == Role::Tool {
        message.name = name.map_or(Ok(String::new()), |field| field.string())?;
        message.tool_call_id = match id {
            Some(id) => id.string()?,
            None => calls.answered(&message.name).ok_or_else(|| {
                let message =
                    format!("{path} needs tool_call_id, or tool_name of a call that was made before");
                ApiError::invalid(path, message)
            })?,
        };
    }
    object.finish()?;
    Ok(message)
}

/// The calls of earlier turns, which Ollama's answers name by function, and other model servers by id.
#[derive(Default)]
struct Calls {
    /// Name and id of those that no tool message has answered.
    open: Vec<(String, String)>,
    count: usize,
}

impl Calls {
    fn made(&mut self, field: Field<'_>) -> Result<ToolCall, ApiError> {
        let mut object = field.object()?;
        let mut function = object.require("function")?.object()?;
        let (name, arguments) =
            (function.require("name")?.string()?, function.require("arguments")?.raw_object()?);
        drop((function.take("index"), function.take("description"), object.take("type")));
        let id = object.take("id").map(|id| id.string()).transpose()?;
        let id = id.unwrap_or_else(|| format!("call_{}", self.count));
        function.finish()?;
        object.finish()?;
        self.count += 1;
        self.open.push((name.clone(), id.clone()));
        Ok(ToolCall { id, name, arguments })
    }

    /// The oldest open call of this function, or of any where none is named.
    fn answered(&mut self, name: &str) -> Option<String> {
        let at = self.open.iter().position(|(known, _)| name.is_empty() || known == name)?;
        Some(self.open.remove(at).1)
    }
}

/// Raw base64; the media type is read off the first bytes.
fn images(object: &mut Object<'_>) -> Result<Vec<ContentPart>, ApiError> {
    let Some(field) = object.take("images") else { return Ok(Vec::new()) };
    field.array()?.iter().map(image).collect()
}

fn image(field: &Field<'_>) -> Result<ContentPart, ApiError> {
    let data =
        STANDARD.decode(field.long_string()?.as_bytes()).map_err(|_| field.must_be("padded base64"))?;
    let media_type = match data.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xFF, 0xD8, 0xFF, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => return Err(field.must_be("a PNG, JPEG, GIF or WebP image")),
    };
    let image = Image { media_type: media_type.to_owned(), data: data.into() };
    Ok(ContentPart { part: Some(Part::Image(image)) })
}

fn tool_list(object: &mut Object<'_>) -> Result<Vec<Tool>, ApiError> {
    tools::tools(object)
}

/// `"json"`, or a schema.
fn format(field: &Field<'_>) -> Result<Option<ResponseFormat>, ApiError> {
    let format = if field.is_string() {
        match field.string()?.as_str() {
            "" => return Ok(None),
            "json" => Format::JsonObject(JsonObject {}),
            _ => return Err(field.must_be("\"json\" or a JSON schema")),
        }
    } else {
        let schema = field.raw_object().map_err(|_| field.must_be("\"json\" or a JSON schema"))?;
        Format::JsonSchema(JsonSchema { name: "answer".to_owned(), schema })
    };
    Ok(Some(ResponseFormat { format: Some(format) }))
}

fn think(field: &Field<'_>) -> Result<ReasoningEffort, ApiError> {
    if !field.is_string() {
        let thinks =
            field.boolean().map_err(|_| field.must_be("true, false, \"low\", \"medium\" or \"high\""))?;
        return Ok(if thinks { ReasoningEffort::Medium } else { ReasoningEffort::None });
    }
    field.one_of(&[
        ("low", ReasoningEffort::Low),
        ("medium", ReasoningEffort::Medium),
        ("high", ReasoningEffort::High),
    ])
}

fn sampling(field: Field<'_>) -> Result<Sampling, ApiError> {
    let mut options = field.object()?;
    let mut number = |name| options.take(name).map(|field| field.number()).transpose();
    let (temperature, top_p, min_p) = (number("temperature")?, number("top_p")?, number("min_p")?);
    let (presence_penalty, frequency_penalty) = (number("presence_penalty")?, number("frequency_penalty")?);
    let sampling = Sampling {
        temperature,
        top_p,
        min_p,
        presence_penalty,
        frequency_penalty,
        top_k: options.take("top_k").map(|field| field.count()).transpose()?,
        seed: at_least(&mut options, "seed", 0)?,
        max_tokens: at_least(&mut options, "num_predict", 0)?.and_then(|most| u32::try_from(most).ok()),
        stop: match options.take("stop") {
            None => Vec::new(),
            Some(field) if field.is_string() => vec![field.string()?],
            Some(field) => field.array()?.iter().map(Field::string).collect::<Result<_, _>>()?,
        },
        ..Sampling::default()
    };
    options.finish()?;
    Ok(sampling)
}

/// A whole number; -1 and below is Ollama's way not to say one.
fn at_least(options: &mut Object<'_>, name: &str, least: i64) -> Result<Option<i64>, ApiError> {
    let given = options.take(name).map(|field| field.integer()).transpose()?;
    Ok(given.filter(|given| *given >= least))
}
