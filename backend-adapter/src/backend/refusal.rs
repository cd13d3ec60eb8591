//! A model server's "no", in our words. Its own text can repeat the prompt: it is looked at for
//! known phrases, and never passed on.

use http::StatusCode;
use serde_json::Value;

use crate::error::{BackendError, Cause, Phase};

/// What a status other than 200 means; `body` is the beginning of its body.
pub(crate) fn by_status(status: StatusCode, body: &[u8]) -> BackendError {
    let code = status.as_u16();
    if let Some(known) = known_phrase(&String::from_utf8_lossy(body)) {
        return known;
    }
    if is_endpoint_missing(status, body) {
        return BackendError::NoEndpoint;
    }
    by_code(code, Cause::Status(code))
}

/// What an error object (OpenAI's) or text (Ollama's) inside a 200 answer means.
pub(crate) fn in_answer(error: &Value) -> BackendError {
    let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let known = known_phrase(&error.to_string());
    known.unwrap_or_else(|| by_code(code.unwrap_or(500), Cause::Answer("an error inside its answer")))
}

fn by_code(code: u16, cause: Cause) -> BackendError {
    match code {
        // The deployment lacks a credential; the caller cannot mend it.
        401 | 403 | 407 => BackendError::Failed(cause),
        404 => BackendError::ModelNotFound,
        408 | 504 => BackendError::Timeout(Phase::Answer),
        413 => BackendError::TooLarge,
        429 | 503 => BackendError::Overloaded,
        400..=499 => BackendError::Refused(cause),
        500..=599 => BackendError::Failed(cause),
        // Redirects are not followed: they could lead off the machine.
        _ => BackendError::Protocol("an HTTP status other than 200, 4xx and 5xx"),
    }
}

/// vLLM says 404 without an error object of its own, or 501; llama.cpp 404 with one that speaks of a file.
fn is_endpoint_missing(status: StatusCode, body: &[u8]) -> bool {
    match status {
        StatusCode::NOT_FOUND => !has_error(body) || String::from_utf8_lossy(body).contains("File Not Found"),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => true,
        _ => false,
    }
}

fn has_error(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| body.get("error").is_some())
}

/// Phrases of Ollama, vLLM and llama.cpp that tell the caller what to change.
fn known_phrase(text: &str) -> Option<BackendError> {
    const TOO_LONG: [&str; 5] = [
        "exceed_context_size_error",
        "context_length_exceeded",
        "maximum context length",
        "exceeds the context length",
        "exceeds the available context size",
    ];
    const UNSUPPORTED: [(&str, &str, &str); 5] = [
        ("does not support tools", "spec.tools", "this model cannot call tools"),
        ("does not support thinking", "spec.reasoning_effort", "this model cannot reason"),
        ("image input is not supported", "spec.messages.content.image", "this model cannot see images"),
        ("is not a multimodal model", "spec.messages.content.image", "this model cannot see images"),
        ("does not support images", "spec.messages.content.image", "this model cannot see images"),
    ];
    if TOO_LONG.iter().any(|phrase| text.contains(phrase)) {
        return Some(BackendError::TooLarge);
    }
    let (_, field, problem) = UNSUPPORTED.iter().find(|(phrase, ..)| text.contains(phrase))?;
    Some(BackendError::Unsupported { field: (*field).to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, body: &str) -> BackendError {
        by_status(StatusCode::from_u16(code).unwrap(), body.as_bytes())
    }

    #[test]
    fn statuses_have_their_meaning_and_never_the_servers_words() {
        let echo = r#"{"error":{"message":"secret-prompt","type":"BadRequestError","code":400}}"#;
        for (code, means) in [
            (400, BackendError::Refused(Cause::Status(400))),
            (401, BackendError::Failed(Cause::Status(401))),
            (404, BackendError::ModelNotFound),
            (413, BackendError::TooLarge),
            (429, BackendError::Overloaded),
            (500, BackendError::Failed(Cause::Status(500))),
            (503, BackendError::Overloaded),
            (504, BackendError::Timeout(Phase::Answer)),
        ] {
            let error = status(code, echo);
            assert_eq!(error, means);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        assert!(matches!(status(302, ""), BackendError::Protocol(_)));
        assert!(matches!(status(201, ""), BackendError::Protocol(_)));
    }

    #[test]
    fn a_missing_endpoint_is_not_a_missing_model() {
        for body in [r#"{"detail":"Not Found"}"#, "404 page not found", ""] {
            assert_eq!(status(404, body), BackendError::NoEndpoint, "{body}");
        }
        let of_llama = r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#;
        assert_eq!(status(404, of_llama), BackendError::NoEndpoint);
        assert_eq!(status(501, r#"{"error":{"code":501}}"#), BackendError::NoEndpoint);
    }

    #[test]
    fn known_phrases_name_what_to_change() {
        let too_long = r#"{"error":{"code":400,"message":"request (3031 tokens) exceeds the available context size (1024 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":3031,"n_ctx":1024}}"#;
        assert_eq!(status(400, too_long), BackendError::TooLarge);
        let no_tools = r#"{"error":"registry.ollama.ai/library/x:latest does not support tools"}"#;
        assert!(
            matches!(status(400, no_tools), BackendError::Unsupported { field, .. } if field == "spec.tools")
        );
        let blind =
            r#"{"error":{"code":500,"message":"image input is not supported - hint","type":"server_error"}}"#;
        assert!(
            matches!(status(500, blind), BackendError::Unsupported { field, .. } if field.ends_with("image"))
        );
    }
}
