//! One event or line of a relayed answer: an error, the end, token counts, or a piece that is nobody's business.
//!
//! Most frames are not read as JSON: what is looked for has a name, and a name inside a text would have its quotes escaped.

use proto::{backend::v1::Endpoint, inference::v1::Usage};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    backend::{Counts, in_answer},
    error::BackendError,
};

/// What a frame is.
#[derive(Debug, PartialEq)]
pub(super) enum Sight {
    /// A comment, or nothing at all.
    Nothing,
    Piece,
    /// It tells token counts; whether it does nothing else.
    Counts {
        usage: Usage,
        only: bool,
    },
    /// The end marker, perhaps with token counts.
    End(Option<Usage>),
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    r#type: Option<std::borrow::Cow<'a, str>>,
    error: Option<Value>,
    usage: Option<Counts>,
    choices: Option<Vec<IgnoredAny>>,
    /// Of `/v1/responses`.
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    usage: Option<TokenCounts>,
}

/// Other names for the same counts.
#[derive(Clone, Copy, Deserialize)]
struct TokenCounts {
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
}

/// One event, with its field names.
pub(super) fn event(event: &str, endpoint: Endpoint) -> Result<Sight, BackendError> {
    let value = |line: &str| line.strip_prefix("data:").map(|value| value.trim().to_owned());
    let data = event.lines().filter_map(value).collect::<Vec<_>>().join("\n");
    if data.is_empty() {
        return Ok(Sight::Nothing);
    }
    if data == "[DONE]" {
        return Ok(Sight::End(None));
    }
    if !(data.starts_with('{') && data.ends_with('}')) {
        return Err(BackendError::Protocol("an event that is no JSON object"));
    }
    let of_choices = matches!(endpoint, Endpoint::OpenaiChat | Endpoint::OpenaiCompletions);
    if of_choices && !has_name(&data, "choices") && !has_name(&data, "error") {
        return Err(BackendError::Protocol("an event without choices"));
    }
    let typed = matches!(
        endpoint,
        Endpoint::OpenaiResponses | Endpoint::AnthropicMessages | Endpoint::OpenaiTranscriptions
    );
    if !typed && !has_name(&data, "error") && !has_name(&data, "usage") {
        return Ok(Sight::Piece);
    }
    let event: Event<'_> = serde_json::from_str(&data)
        .map_err(|_| BackendError::Protocol("an event that is no JSON object of its endpoint"))?;
    read(event)
}

fn read(event: Event<'_>) -> Result<Sight, BackendError> {
    if let Some(error) = event.error {
        return Err(in_answer(&error));
    }
    match event.r#type.as_deref() {
        Some("response.failed") => return Err(in_answer(&Value::Null)),
        Some("response.completed" | "response.incomplete") => {
            let counts = event.response.and_then(|response| response.usage);
            return Ok(Sight::End(counts.map(|counts| Counts::from(counts).usage())));
        }
        Some("message_stop") => return Ok(Sight::End(None)),
        // Of `/v1/audio/transcriptions`; where a server sends `[DONE]` as well, that comes too late to matter.
        Some("transcript.text.done") => return Ok(Sight::End(event.usage.map(Counts::usage))),
        _ => {}
    }
    let only = event.choices.is_some_and(|choices| choices.is_empty());
    Ok(match event.usage {
        Some(counts) if counts.are_given() => Sight::Counts { usage: counts.usage(), only },
        Some(_) | None => Sight::Piece,
    })
}

#[derive(Deserialize)]
struct Line {
    error: Option<Value>,
    done: Option<bool>,
    prompt_eval_count: Option<u32>,
    eval_count: Option<u32>,
}

/// One line of Ollama's.
pub(super) fn line(line: &str) -> Result<Sight, BackendError> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Sight::Nothing);
    }
    if !(line.starts_with('{') && line.ends_with('}')) {
        return Err(BackendError::Protocol("a line that is no JSON object"));
    }
    if !has_name(line, "error") && !line.contains("\"done\":true") && !line.contains("\"done\": true") {
        return Ok(Sight::Piece);
    }
    let line: Line = serde_json::from_str(line)
        .map_err(|_| BackendError::Protocol("a line that is no JSON object of its endpoint"))?;
    if let Some(error) = line.error {
        return Err(in_answer(&error));
    }
    if line.done != Some(true) {
        return Ok(Sight::Piece);
    }
    let counts = Counts { prompt: line.prompt_eval_count, completion: line.eval_count, ..Counts::default() };
    Ok(Sight::End(Some(counts.usage())))
}

/// Whether a member of this name, or a text that is nothing but it, stands somewhere.
fn has_name(json: &str, name: &str) -> bool {
    let quoted = |at: usize| json.as_bytes().get(at.wrapping_sub(1)) == Some(&b'"');
    json.match_indices(name).any(|(at, _)| quoted(at) && json.as_bytes().get(at + name.len()) == Some(&b'"'))
}

impl From<TokenCounts> for Counts {
    fn from(counts: TokenCounts) -> Self {
        Self { prompt: counts.input_tokens, completion: counts.output_tokens, ..Self::default() }
    }
}
