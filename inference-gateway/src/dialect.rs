//! The HTTP dialects: how each says no, before an answer and in the middle of one.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::openai::{error::ApiError, json};

/// Whose interface a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI's chat and what came after it.
    OpenAi,
    /// OpenAI's `/v1/responses`, whose events have names.
    Responses,
    /// Anthropic's `/v1/messages`.
    Anthropic,
    /// Ollama's `/api/*`.
    Ollama,
}

impl Dialect {
    /// The refusal as an answer.
    pub(crate) fn refusal(self, error: ApiError) -> Response {
        let body = match self {
            Self::OpenAi | Self::Responses => return error.into_response(),
            Self::Anthropic => anthropic(&error),
            Self::Ollama => json!({ "error": error.message, "code": error.reason }),
        };
        let (mut parts, _) = error.into_response().into_parts();
        // The body is another than the one that it was computed from.
        parts.headers.remove(http::header::CONTENT_LENGTH);
        Response::from_parts(parts, json(body.to_string()).into_body())
    }

    /// The refusal as the last piece of an answer under way; what follows it is cut.
    pub(crate) fn last_words(self, error: &ApiError) -> Bytes {
        let event = |name: &str, data: &[u8]| [name.as_bytes(), b"data: ", data, b"\n\n"].concat();
        match self {
            Self::OpenAi => event("", &error.body()),
            Self::Responses => event("event: error\n", response_error(error).to_string().as_bytes()),
            Self::Anthropic => event("event: error\n", anthropic(error).to_string().as_bytes()),
            Self::Ollama => {
                format!("{}\n", json!({ "error": error.message, "code": error.reason })).into_bytes()
            }
        }
        .into()
    }
}

fn response_error(error: &ApiError) -> Value {
    json!({ "type": "error", "code": error.reason, "message": error.message, "param": error.param, "sequence_number": 0 })
}

fn anthropic(error: &ApiError) -> Value {
    let kind = match error.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": error.message, "code": error.reason } })
}

#[cfg(test)]
mod tests {
    use proto::reason;

    use super::*;

    #[test]
    fn each_dialect_has_its_own_words() {
        let error =
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason::ATTESTATION_LAPSED, "no \"lease\"");
        for (dialect, words) in [
            (Dialect::OpenAi, "data: {\"error\":{\"message\":\"no \\\"lease\\\"\",\"type\":\"server_error\""),
            (Dialect::Responses, "event: error\ndata: {\"code\":\"ATTESTATION_LAPSED\""),
            (Dialect::Anthropic, "event: error\ndata: {\"error\":{\"code\":\"ATTESTATION_LAPSED\""),
            (Dialect::Ollama, "{\"code\":\"ATTESTATION_LAPSED\",\"error\":\"no \\\"lease\\\"\"}\n"),
        ] {
            let last = String::from_utf8(dialect.last_words(&error).to_vec()).unwrap();
            assert!(last.starts_with(words), "{last}");
            let refusal = dialect.refusal(error.clone());
            assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refusal.headers()["retry-after"], "1", "{dialect:?}");
        }
    }
}
