//! Where a request gets its caller and its place.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use aws_lc_rs::hmac;
use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use mtls::CallerCertificate;
use service_runtime::Clock;
use tonic::{Status, metadata::MetadataMap};

use super::{Admission, Callers, admission::Slot};
use crate::{dialect::Dialect, incoming, openai::error::ApiError};

/// What decides who goes through.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) callers: Callers,
    pub(crate) admission: Admission,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) salts: hmac::Key,
}

/// What is for everybody, by the beginning of its path. Everything else needs a caller.
const OPEN: &[&str] = &[
    "/attestation",
    "/.well-known/",
    "/openapi.json",
    "/api/version",
    "/cube.attestation.v1.AttestationService/",
    "/grpc.health.v1.Health/",
    "/grpc.reflection.",
];

/// What costs a lookup only, and takes nobody's place.
const LOOKUPS: &[&str] =
    &["/v1/models", "/api/tags", "/api/ps", "/api/show", "/cube.inference.v1.ModelService/"];

fn begins(path: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| path.starts_with(beginning))
}

/// Finds out whose request it is, and gives it a place for as long as its answer lasts.
pub(crate) async fn known(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/" || begins(path, OPEN) {
        return next.run(request).await;
    }
    let (caller, slot) = match door.admit(path, request.headers(), request.extensions().get()).await {
        Ok(admitted) => admitted,
        Err(status) => return refusal(path, request.headers(), status),
    };
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    response.map(|body| Body::new(Held { body, _slot: slot }))
}

impl Door {
    async fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        certificate: Option<&CallerCertificate>,
    ) -> Result<(super::Caller, Option<Slot>), Status> {
        let caller = self.callers.who(headers, certificate, &*self.clock, &self.salts)?;
        if begins(path, LOOKUPS) {
            return Ok((caller, None));
        }
        let key = match &self.callers {
            Callers::Anonymous => None,
            Callers::Keys(keys) => keys.borrow().named(&caller.name).cloned(),
        };
        let deadline = incoming::deadline(&MetadataMap::from_headers(headers.clone()))?;
        let slot = self.admission.admit(key.as_ref(), deadline).await?;
        Ok((caller, Some(slot)))
    }
}

/// In the words of whom the path belongs to.
fn refusal(path: &str, headers: &HeaderMap, status: Status) -> Response {
    if crate::server::is_grpc(headers) {
        return status.into_http();
    }
    let dialect = if path.starts_with("/api/") {
        Dialect::Ollama
    } else if path == "/v1/messages" {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    };
    dialect.refusal(ApiError::from(status))
}

/// An answer and its place.
struct Held {
    body: Body,
    _slot: Option<Slot>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
