//! OpenAI's HTTP interface, for its official SDKs as they are.
//!
//! `POST /v1/chat/completions` → [`request`] → [`crate::chat`] → [`answer`] or, where
//! streamed, [`stream`]. Every refusal is an [`error::ApiError`].

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use health_gate::ServingPermit;
use http::{Extensions, HeaderName, HeaderValue, Request, StatusCode, header, request::Parts};
use proto::{inference::v1::Model, reason};
use serde::Serialize;
use service_runtime::Clock;
use tonic::Status;

use crate::{
    chat::Chat,
    incoming::{self, permit},
    upstream::Call,
};

mod answer;
pub(crate) mod error;
mod json;
mod message;
mod request;
mod stream;
mod tools;

use self::{answer::Chunks, error::ApiError, request::Completion};

/// Names parameters that were read and not passed on to the backend.
const UNRECOGNISED: HeaderName = HeaderName::from_static("cube-unrecognised");

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct OpenAi {
    pub(crate) chat: Chat,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The paths, as told of.
pub(crate) const PATHS: &[&str] = &[CHAT_COMPLETIONS, MODELS, MODEL];
const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/{*model}";

/// The routes.
pub(crate) fn router(state: OpenAi) -> Router {
    Router::new()
        .route(CHAT_COMPLETIONS, post(chat_completions))
        .route(MODELS, get(list_models))
        .route(MODEL, get(retrieve_model))
        .with_state(state)
}

async fn chat_completions(State(state): State<OpenAi>, request: Request<Body>) -> Result<Response, ApiError> {
    let permit = permit(request.extensions())?.clone();
    let request_id = incoming::id(request.extensions())?;
    require_json(&request)?;
    let body = read(request.into_body()).await?;
    let Completion { spec, stream, include_usage, left_out } = request::parse(&body)?;
    drop(body);
    let call = Call { request_id, spec, deadline: None };
    let mut response = if stream {
        state.streamed(&permit, call, include_usage).await?
    } else {
        state.whole(&permit, call).await?
    };
    if let Some(parameter) = left_out {
        response.headers_mut().insert(UNRECOGNISED, HeaderValue::from_static(parameter));
    }
    Ok(response)
}

impl OpenAi {
    async fn streamed(
        &self,
        permit: &ServingPermit,
        call: Call,
        include_usage: bool,
    ) -> Result<Response, ApiError> {
        let answer = self.chat.stream(permit, call).await?;
        let body = stream::body(answer, Chunks::new(self.clock.unix(), include_usage));
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
        Ok((headers, body).into_response())
    }

    async fn whole(&self, permit: &ServingPermit, call: Call) -> Result<Response, ApiError> {
        let answer = self.chat.whole(permit, call).await?;
        Ok(json(answer::completion(&answer, self.clock.unix())))
    }
}

/// An answer in JSON; none is for a cache.
pub(crate) fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body.into())
        .into_response()
}

/// Browsers send other types across origins without asking first.
fn require_json(request: &Request<Body>) -> Result<(), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    let message = "content-type must be application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason::INVALID_REQUEST, message))
}

/// The layer stack bounds every body; there is no second bound here.
async fn read(body: Body) -> Result<Bytes, ApiError> {
    to_bytes(body, usize::MAX).await.map_err(|error| crate::body::unreadable(&error).into())
}

#[derive(Serialize)]
struct ModelList {
    object: &'static str,
    data: Vec<ModelBody>,
}

#[derive(Serialize)]
struct ModelBody {
    id: String,
    object: &'static str,
    /// Not known; the SDKs want a number.
    created: u32,
    owned_by: &'static str,
}

impl From<Model> for ModelBody {
    fn from(model: Model) -> Self {
        let id = model.name.strip_prefix("models/").unwrap_or(&model.name).to_owned();
        Self { id, object: "model", created: 0, owned_by: "cube" }
    }
}

async fn list_models(State(state): State<OpenAi>, request: Parts) -> Result<Response, ApiError> {
    let data = models(&state, &request.extensions).await?;
    Ok(json(serde_json::to_vec(&ModelList { object: "list", data }).unwrap_or_default()))
}

async fn retrieve_model(
    State(state): State<OpenAi>,
    Path(name): Path<String>,
    request: Parts,
) -> Result<Response, ApiError> {
    let found = models(&state, &request.extensions).await?.into_iter().find(|model| model.id == name);
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, reason::MODEL_NOT_FOUND, "the backend has no such model");
    Ok(json(serde_json::to_vec(&found.ok_or_else(missing)?).unwrap_or_default()))
}

async fn models(state: &OpenAi, extensions: &Extensions) -> Result<Vec<ModelBody>, Status> {
    let models = state.chat.models(permit(extensions)?, None).await?;
    Ok(models.into_iter().map(ModelBody::from).collect())
}

/// Nothing here answers to this path.
pub(crate) fn no_such_path() -> Response {
    ApiError::new(StatusCode::NOT_FOUND, reason::UNKNOWN_METHOD, "no such path").into_response()
}

/// The path is right, the HTTP method is not.
pub(crate) fn no_such_method() -> Response {
    let message = "no such method on this path";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, reason::UNKNOWN_METHOD, message).into_response()
}
