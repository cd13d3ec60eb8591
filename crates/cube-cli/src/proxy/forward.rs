//! A request on its way upstream, and what a client is told where there is no way.

use attested_client::{AttestedClient, ClientError, Error};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::failure::Failure;

/// Of one connection, RFC 9110 section 7.6.1, and what is for this proxy alone.
const NOT_FORWARDED: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
];

/// Where requests go; a cheap handle.
#[derive(Clone)]
pub(super) struct Upstream {
    client: AttestedClient,
    authorization: Option<HeaderValue>,
}

impl Upstream {
    pub(super) fn new(client: AttestedClient, api_key: Option<&str>) -> Result<Self, Failure> {
        let value = |key| HeaderValue::from_str(&format!("Bearer {key}"));
        let authorization = api_key.map(value).transpose();
        let mut authorization = authorization
            .map_err(|_| Failure::Usage("the API key has characters that no header can have".to_owned()))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self { client, authorization })
    }

    /// Dropping the answer's body cancels the request upstream.
    pub(super) async fn forward(&self, request: Request<Incoming>) -> Response<Body> {
        let dialect = Dialect::of(&request);
        let (mut parts, body) = request.into_parts();
        clear(&mut parts.headers);
        if let Some(value) = &self.authorization {
            parts.headers.insert(header::AUTHORIZATION, value.clone());
        }
        match self.client.clone().call(Request::from_parts(parts, Body::new(body))).await {
            Ok(mut answer) => {
                clear(answer.headers_mut());
                answer.map(Body::new)
            }
            Err(error) => Refusal::from(&error).in_dialect(dialect),
        }
    }
}

fn clear(headers: &mut HeaderMap) {
    // What `Connection` names is of this connection as well.
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in NOT_FORWARDED.iter().chain(&named) {
        headers.remove(name);
    }
    // gRPC's own, which says that trailers are understood.
    if headers.get(header::TE).is_some_and(|value| value != "trailers") {
        headers.remove(header::TE);
    }
}

/// Whose error bodies a client understands.
#[derive(Clone, Copy)]
enum Dialect {
    Grpc,
    Ollama,
    OpenAi,
}

impl Dialect {
    fn of<B>(request: &Request<B>) -> Self {
        let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        match kind {
            Some(kind) if kind.starts_with(b"application/grpc") => Self::Grpc,
            _ if request.uri().path().starts_with("/api/") => Self::Ollama,
            _ => Self::OpenAi,
        }
    }
}

/// Why the proxy answers itself.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    pub(super) reason: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        self.in_dialect(Dialect::of(request))
    }

    fn in_dialect(&self, dialect: Dialect) -> Response<Body> {
        let Self { status, reason, message } = self;
        let body = match dialect {
            Dialect::Grpc => return Status::new(self.code(), format!("{message} ({reason})")).into_http(),
            Dialect::Ollama => json!({ "error": format!("{message} ({reason})") }),
            Dialect::OpenAi => {
                let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
                json!({ "error": { "message": message, "type": kind, "param": null, "code": reason } })
            }
        };
        let mut response = Response::new(Body::new(body.to_string()));
        *response.status_mut() = *status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn code(&self) -> Code {
        match self.status {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            _ => Code::Unavailable,
        }
    }
}

impl From<&ClientError> for Refusal {
    fn from(error: &ClientError) -> Self {
        let (status, reason) = match error {
            ClientError::NotVerified(Error::Unreachable { .. } | Error::NoEvidence { .. }) => {
                (StatusCode::BAD_GATEWAY, "PROXY_UPSTREAM_UNAVAILABLE")
            }
            ClientError::NotVerified(_) => (StatusCode::BAD_GATEWAY, "PROXY_UPSTREAM_NOT_VERIFIED"),
            ClientError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "PROXY_UPSTREAM_BUSY"),
            ClientError::Channel(_) | _ => (StatusCode::BAD_GATEWAY, "PROXY_UPSTREAM_FAILED"),
        };
        Self::new(status, reason, format!("nothing was answered by the gateway: {error}"))
    }
}
