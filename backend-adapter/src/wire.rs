//! Between gRPC and the inside: what a request must be, and the only mapping of errors to statuses.

use http::HeaderValue;
use proto::{
    backend::v1::{GenerateRequest, RelayRequest},
    reason,
};
use tonic::{Code, Status};

use crate::{
    backend::Call,
    error::BackendError,
    http::{Ask, JSON},
    model_server::{ModelServer, Relayed},
    relay::{self, Watch},
};

/// Checks a request and puts it into the model server's dialect.
pub(crate) fn call(server: &ModelServer, request: &GenerateRequest) -> Result<Call, BackendError> {
    check_id(&request.request_id)?;
    let spec = request.spec.as_ref().ok_or_else(|| invalid("spec", "is missing"))?;
    server.dialect.call(&request.request_id, spec, &request.cache_salt, server.limits.frame)
}

/// Checks a request in the model server's own dialect, and finds its place there. The id is for log lines.
pub(crate) fn relayed(server: &ModelServer, request: RelayRequest) -> Result<Relayed, BackendError> {
    check_id(&request.request_id)?;
    let (endpoint, streamed) = (request.endpoint(), request.streamed);
    let place = relay::place(endpoint, server.dialect)?;
    let content_type = match request.content_type.as_str() {
        "" => JSON,
        given => HeaderValue::from_str(given).map_err(|_| invalid("content_type", "is no header value"))?,
    };
    let ask = Ask { method: place.method.clone(), path: place.path, content_type, body: request.body };
    Ok(Relayed { ask, watch: Watch::new(endpoint, request.strip_usage, server.limits.frame), streamed })
}

/// It becomes part of tool call ids and of log lines.
fn check_id(request_id: &str) -> Result<(), BackendError> {
    let id = request_id.as_bytes();
    if (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err(invalid("request_id", "is not 1 to 128 visible ASCII characters"))
}

fn invalid(field: &str, problem: &'static str) -> BackendError {
    BackendError::InvalidField { field: field.to_owned(), problem }
}

impl From<BackendError> for Status {
    fn from(error: BackendError) -> Self {
        let (code, reason) = code_and_reason(&error);
        let named = detail(&error);
        proto::status_with(code, reason, error.to_string(), named.as_slice())
    }
}

/// What the status names beside its reason: the field to mend, or what was waited for.
fn detail(error: &BackendError) -> Option<(&'static str, &str)> {
    if let BackendError::InvalidField { field, .. } | BackendError::Unsupported { field, .. } = error {
        return Some(("field", field));
    }
    if let BackendError::Timeout(phase) = error {
        return Some(("phase", phase.as_str()));
    }
    None
}

fn code_and_reason(error: &BackendError) -> (Code, &'static str) {
    match error {
        BackendError::InvalidField { .. } => (Code::InvalidArgument, reason::INVALID_REQUEST),
        BackendError::Unsupported { .. } => (Code::Unimplemented, reason::UNSUPPORTED_BY_BACKEND),
        BackendError::Unreachable(_) => (Code::Unavailable, reason::BACKEND_UNAVAILABLE),
        BackendError::Stranger => (Code::Unavailable, reason::BACKEND_WRONG_UID),
        BackendError::NoEndpoint => (Code::Unimplemented, reason::ENDPOINT_NOT_IN_BACKEND),
        BackendError::ModelNotFound => (Code::NotFound, reason::MODEL_NOT_FOUND),
        BackendError::Refused(_) => (Code::InvalidArgument, reason::BACKEND_REFUSED),
        BackendError::TooLarge => (Code::InvalidArgument, reason::REQUEST_TOO_LARGE),
        BackendError::Overloaded => (Code::Unavailable, reason::BACKEND_OVERLOADED),
        BackendError::Failed(_) => (Code::Internal, reason::BACKEND_FAILED),
        BackendError::Protocol(_) | BackendError::Frame(_) => (Code::Internal, reason::BACKEND_PROTOCOL),
        BackendError::Truncated(_) => (Code::DataLoss, reason::BACKEND_TRUNCATED),
        BackendError::Lapsed => (Code::Unavailable, reason::ATTESTATION_LAPSED),
        BackendError::Timeout(_) => (Code::DeadlineExceeded, reason::BACKEND_TIMEOUT),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proto::inference::v1::{ChatSpec, ContentPart, Message, Role, content_part::Part};
    use service_runtime::BackendAddress;
    use tonic_types::StatusExt;

    use super::*;
    use crate::{
        AnswerLimits, backend::Dialect, decode::FrameError, dial::Endpoint, error::Phase,
        model_server::Reader,
    };

    #[test]
    fn a_status_names_the_field_or_the_phase() {
        let field = BackendError::Unsupported { field: "spec.sampling.seed".into(), problem: "no" };
        let status = Status::from(field);
        assert_eq!(status.code(), Code::Unimplemented);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "UNSUPPORTED_BY_BACKEND");
        assert_eq!(info.metadata["field"], "spec.sampling.seed");
        let info = Status::from(BackendError::Timeout(Phase::FirstToken)).get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.metadata["phase"].as_str()),
            ("BACKEND_TIMEOUT", "first_token")
        );
        let squatter = Status::from(BackendError::Stranger);
        assert_eq!(proto::reason_of(&squatter).as_deref(), Some("BACKEND_WRONG_UID"));
    }

    fn server(limits: AnswerLimits) -> ModelServer {
        let endpoint = Endpoint { address: BackendAddress::Unix("/nonexistent".into()), uid: 0 };
        ModelServer::new(Dialect::OpenAi, endpoint, limits)
    }

    #[test]
    fn frames_are_as_long_as_the_limit_at_most() {
        let text = ContentPart { part: Some(Part::Text("hello".into())) };
        let message = Message { role: Role::User.into(), content: vec![text], ..Message::default() };
        let spec = ChatSpec { model: "m".into(), messages: vec![message], ..ChatSpec::default() };
        let request =
            GenerateRequest { request_id: "id".into(), spec: Some(spec), ..GenerateRequest::default() };
        let mut call = call(&server(AnswerLimits { frame: 9, ..AnswerLimits::default() }), &request).unwrap();
        let error = call.decoder.feed("data: 0123456789\n".into(), &mut VecDeque::new()).unwrap_err();
        assert_eq!(error, BackendError::Frame(FrameError::TooLarge { limit: 9 }));
    }

    #[test]
    fn a_request_needs_an_id_and_a_spec() {
        let server = server(AnswerLimits::default());
        for (request_id, spec, field) in [
            (String::new(), Some(ChatSpec::default()), "request_id"),
            ("with space".to_owned(), Some(ChatSpec::default()), "request_id"),
            ("x".repeat(129), Some(ChatSpec::default()), "request_id"),
            ("id".to_owned(), None, "spec"),
            ("id".to_owned(), Some(ChatSpec::default()), "spec.model"),
        ] {
            let error = call(&server, &GenerateRequest { request_id, spec, ..GenerateRequest::default() })
                .unwrap_err();
            assert!(
                matches!(&error, BackendError::InvalidField { field: named, .. } if named == field),
                "{error:?}"
            );
        }
    }
}
