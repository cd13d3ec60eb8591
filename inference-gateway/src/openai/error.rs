//! OpenAI's error body, and what each refusal is in HTTP.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use proto::{reason, spec::SpecError};
use serde::Serialize;
use service_runtime::refused_for;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::json;

/// A refusal in OpenAI's dialect. Its message names what and where, and holds
/// nothing of a prompt or a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// `code` of the body: one of [`proto::reason`].
    pub(crate) reason: String,
    pub(crate) message: String,
    /// The parameter that is to blame, as a path from the top of the request.
    pub(crate) param: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into(), param: None }
    }

    /// 400: `param` is missing, malformed or out of range.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, reason::INVALID_REQUEST, message);
        Self { param: Some(param.into()).filter(|path| !path.is_empty()), ..error }
    }

    /// 400: Cube knows no such parameter.
    pub(crate) fn unknown(param: String) -> Self {
        let message = format!("unknown parameter {param}; remove it");
        Self { reason: reason::UNKNOWN_PARAMETER.to_owned(), ..Self::invalid(param, message) }
    }

    /// 400: Cube knows what is meant and cannot do it; it will not pretend to.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason::UNSUPPORTED_BY_BACKEND.to_owned(), ..Self::invalid(param, message) }
    }

    /// The body, as bytes of JSON.
    pub(crate) fn body(&self) -> Vec<u8> {
        let error = Inner {
            message: &self.message,
            r#type: kind(self.status),
            param: self.param.as_deref(),
            code: &self.reason,
        };
        serde_json::to_vec(&Outer { error }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Outer<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // What docs/errors.md says of HTTP is held by every test that refuses something.
        debug_assert!(
            reason::Reason::named(&self.reason)
                .is_none_or(|known| known.http.contains(&self.status.as_u16())),
            "{} with {} is not in proto/src/reason.rs",
            self.reason,
            self.status
        );
        let mut response = (self.status, json(self.body())).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        refused_for(response, &self.reason)
    }
}

impl From<SpecError> for ApiError {
    fn from(error: SpecError) -> Self {
        // OpenAI's request has the sampling fields at the top.
        let param = error.field.strip_prefix("sampling.").unwrap_or(&error.field);
        Self::invalid(param, format!("{param} {}", error.problem))
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info();
        let param = info.and_then(|info| info.metadata.get("field").cloned());
        let reason = proto::reason_of(&status).unwrap_or_else(|| reason::INTERNAL.to_owned());
        Self {
            status: http_status(status.code(), &reason),
            reason,
            message: status.message().to_owned(),
            param,
        }
    }
}

/// The HTTP status for a gRPC status.
fn http_status(code: Code, reason: &str) -> StatusCode {
    match (code, reason) {
        (_, reason::UNSUPPORTED_BY_BACKEND) => StatusCode::BAD_REQUEST,
        (_, reason::REQUEST_TOO_LARGE) => StatusCode::PAYLOAD_TOO_LARGE,
        (Code::Ok, _) => StatusCode::OK,
        (Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange, _) => StatusCode::BAD_REQUEST,
        (Code::Unauthenticated, _) => StatusCode::UNAUTHORIZED,
        (Code::PermissionDenied, _) => StatusCode::FORBIDDEN,
        (Code::NotFound, _) => StatusCode::NOT_FOUND,
        (Code::AlreadyExists | Code::Aborted, _) => StatusCode::CONFLICT,
        (Code::ResourceExhausted, _) => StatusCode::TOO_MANY_REQUESTS,
        (Code::Unimplemented, _) => StatusCode::NOT_IMPLEMENTED,
        (Code::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Code::DeadlineExceeded, _) => StatusCode::GATEWAY_TIMEOUT,
        (Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss, _) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// OpenAI's coarse `type` for a status.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_openais() {
        let error = ApiError::unknown("temprature".into());
        let body = String::from_utf8(error.body()).unwrap();
        assert_eq!(
            body,
            r#"{"error":{"message":"unknown parameter temprature; remove it","type":"invalid_request_error","param":"temprature","code":"UNKNOWN_PARAMETER"}}"#
        );
    }

    #[test]
    fn a_status_keeps_its_reason_and_field() {
        let metadata = [("field", "sampling.seed")];
        let status = proto::status_with(Code::InvalidArgument, reason::INVALID_REQUEST, "no", &metadata);
        let error = ApiError::from(status);
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            (error.reason.as_str(), error.param.as_deref()),
            ("INVALID_REQUEST", Some("sampling.seed"))
        );
    }

    #[test]
    fn each_status_has_its_http_status() {
        let cases = [
            (Code::Unavailable, reason::BACKEND_OVERLOADED, 503),
            (Code::ResourceExhausted, reason::OVERLOADED, 429),
            (Code::ResourceExhausted, reason::REQUEST_TOO_LARGE, 413),
            (Code::Unavailable, reason::ATTESTATION_LAPSED, 503),
            (Code::Unimplemented, reason::UNSUPPORTED_BY_BACKEND, 400),
            (Code::Unimplemented, reason::BINDING_UNSUPPORTED, 501),
            (Code::NotFound, reason::MODEL_NOT_FOUND, 404),
            (Code::DeadlineExceeded, reason::BACKEND_TIMEOUT, 504),
            (Code::DataLoss, reason::BACKEND_TRUNCATED, 500),
        ];
        for (code, reason, expected) in cases {
            assert_eq!(
                ApiError::from(proto::status(code, reason, "m")).status.as_u16(),
                expected,
                "{code:?}"
            );
        }
    }

    #[test]
    fn the_http_statuses_are_those_of_the_table_of_reasons() {
        for reason in reason::ALL.iter().filter(|reason| !reason.http.is_empty()) {
            for code in reason.codes {
                let status = http_status(*code, reason.name).as_u16();
                assert!(reason.http.contains(&status), "{} with {code:?} gives {status}", reason.name);
            }
        }
    }

    #[test]
    fn a_status_without_a_reason_is_internal() {
        assert_eq!(ApiError::from(Status::unknown("x")).reason, "INTERNAL");
    }
}
