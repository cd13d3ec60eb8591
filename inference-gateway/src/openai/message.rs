//! One message of an OpenAI request.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use proto::inference::v1::{ContentPart, Image, Message, Role, ToolCall, content_part::Part};

use super::error::ApiError;
use crate::json::Field;

/// A message, read.
pub(super) struct Read {
    pub(super) message: Message,
    /// What it held and Cube does not pass on.
    pub(super) left_out: Option<&'static str>,
}

const ROLES: &[(&str, Role)] = &[
    ("system", Role::System),
    ("developer", Role::System),
    ("user", Role::User),
    ("assistant", Role::Assistant),
    ("tool", Role::Tool),
];

/// Members of messages that Cube cannot honour. SDKs send an answer's message back
/// as it came, so that the empty forms must pass.
const NOT_HONOURED: &[(&str, &[&str])] =
    &[("annotations", &["[]"]), ("audio", &[]), ("function_call", &[]), ("refusal", &[])];

/// Reads one item of `messages`.
pub(super) fn parse(field: Field<'_>) -> Result<Read, ApiError> {
    let mut object = field.object()?;
    object.only_neutral(NOT_HONOURED)?;
    let role = object.require("role")?.one_of(ROLES)?;
    let message = Message {
        role: role.into(),
        content: object.take("content").map_or(Ok(Vec::new()), |field| content(&field))?,
        tool_calls: object.take("tool_calls").map_or(Ok(Vec::new()), |field| tool_calls(&field))?,
        tool_call_id: object.take("tool_call_id").map_or(Ok(String::new()), |field| field.string())?,
        name: object.take("name").map_or(Ok(String::new()), |field| field.string())?,
    };
    let left_out = (role == Role::Assistant).then(|| object.take("reasoning")).flatten();
    object.finish()?;
    // Chat templates drop the reasoning of earlier turns; Cube does not pass it on at all.
    Ok(Read { message, left_out: left_out.map(|_| "messages.reasoning") })
}

fn content(field: &Field<'_>) -> Result<Vec<ContentPart>, ApiError> {
    if field.is_string() {
        return Ok(vec![ContentPart { part: Some(Part::Text(field.string()?)) }]);
    }
    let parts = field.array().map_err(|_| field.must_be("a string or an array of parts"))?;
    parts.into_iter().map(part).collect()
}

fn part(field: Field<'_>) -> Result<ContentPart, ApiError> {
    let path = field.path().to_owned();
    let mut object = field.object()?;
    let kind = object.require("type")?;
    let part = match kind.string()?.as_str() {
        "text" => Part::Text(object.require("text")?.string()?),
        "image_url" => Part::Image(image(object.require("image_url")?)?),
        "input_audio" | "file" | "refusal" | "video_url" | "audio_url" => {
            return Err(ApiError::unsupported(
                kind.path(),
                format!("{path} must be of type text or image_url"),
            ));
        }
        _ => return Err(kind.must_be("one of text, image_url")),
    };
    object.finish()?;
    Ok(ContentPart { part: Some(part) })
}

fn image(field: Field<'_>) -> Result<Image, ApiError> {
    let mut object = field.object()?;
    let url = object.require("url")?;
    object.only_neutral(&[("detail", &[r#""auto""#])])?;
    object.finish()?;
    data_url(&url)
}

/// RFC 2397, base64 only. Nothing is fetched on a caller's behalf.
fn data_url(field: &Field<'_>) -> Result<Image, ApiError> {
    let url: Cow<'_, str> = field.long_string()?;
    let path = field.path();
    let Some(rest) = url.strip_prefix("data:") else {
        let message = format!("{path} is a remote address, which Cube does not fetch; send a data: URL");
        return Err(ApiError::unsupported(path, message));
    };
    let (media_type, data) =
        rest.split_once(";base64,").ok_or_else(|| field.must_be("data:image/TYPE;base64,DATA"))?;
    let data =
        STANDARD.decode(data).map_err(|_| field.must_be("data:image/TYPE;base64,DATA in padded base64"))?;
    Ok(Image { media_type: media_type.to_owned(), data: data.into() })
}

fn tool_calls(field: &Field<'_>) -> Result<Vec<ToolCall>, ApiError> {
    field.array()?.into_iter().map(tool_call).collect()
}

fn tool_call(field: Field<'_>) -> Result<ToolCall, ApiError> {
    let mut object = field.object()?;
    object.require("type")?.one_of(&[("function", ())])?;
    let mut function = object.require("function")?.object()?;
    let call = ToolCall {
        id: object.require("id")?.string()?,
        name: function.require("name")?.string()?,
        arguments: function.require("arguments")?.string()?,
    };
    // Streamed answers number their calls, and some callers send the number back.
    drop(object.take("index"));
    function.finish()?;
    object.finish()?;
    Ok(call)
}
