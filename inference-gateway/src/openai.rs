//! OpenAI's HTTP interface, for its official SDKs as they are.
//!
//! Where the model server speaks it too, requests are passed on ([`relayed`] → [`crate::relay`]). Elsewhere
//! `POST /v1/chat/completions` is translated: [`request`] → [`crate::chat`] → [`answer`] or, where streamed, [`stream`].
//! Every refusal is an [`error::ApiError`].

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use health_gate::ServingPermit;
use http::{Extensions, HeaderValue, Request, StatusCode, header, request::Parts};
use proto::{inference::v1::Model, reason};
use serde::Serialize;
use service_runtime::BackendKind;
use tonic::Status;

use crate::{
    front::{Asked, Front, name_unrecognised},
    incoming::{caller, permit},
    upstream::Call,
};

mod answer;
pub(crate) mod error;
mod message;
pub(crate) mod relayed;
mod request;
mod stream;
pub(crate) mod tools;

use self::{answer::Chunks, error::ApiError, request::Completion};

/// The paths, as told of.
const OWN: &[&str] = &[CHAT_COMPLETIONS, MODELS, MODEL];

/// All of them.
pub(crate) fn paths() -> Vec<&'static str> {
    [OWN, relayed::PATHS].concat()
}

const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/{*model}";

/// The routes.
pub(crate) fn router(front: Front) -> Router {
    Router::new()
        .route(CHAT_COMPLETIONS, post(chat_completions))
        .route(MODELS, get(list_models))
        .route(MODEL, get(retrieve_model))
        .merge(relayed::router())
        .with_state(front)
}

async fn chat_completions(State(front): State<Front>, request: Request<Body>) -> Result<Response, ApiError> {
    require_json(&request)?;
    let asked = Asked::read(request).await?;
    if front.backend == BackendKind::Openai {
        return front.pass_on(&relayed::CHAT, &asked).await;
    }
    let Completion { spec, stream, include_usage, left_out } = request::parse(&asked.body)?;
    let Asked { permit, caller, request_id, body } = asked;
    drop(body);
    let call = Call::of(&caller, request_id, spec, None)?;
    let mut response = if stream {
        streamed(&front, &permit, call, include_usage).await?
    } else {
        let answer = front.chat.whole(&permit, call).await?;
        json(answer::completion(&answer, front.clock.unix()))
    };
    name_unrecognised(&mut response, left_out.unwrap_or_default().to_owned());
    Ok(response)
}

async fn streamed(
    front: &Front,
    permit: &ServingPermit,
    call: Call,
    include_usage: bool,
) -> Result<Response, ApiError> {
    let answer = front.chat.stream(permit, call).await?;
    let body = stream::body(answer, Chunks::new(front.clock.unix(), include_usage));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

/// An answer in JSON; none is for a cache.
pub(crate) fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body.into())
        .into_response()
}

/// Browsers send other types across origins without asking first.
pub(crate) fn require_json(request: &Request<Body>) -> Result<(), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    let message = "content-type must be application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason::INVALID_REQUEST, message))
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

async fn list_models(State(front): State<Front>, request: Parts) -> Result<Response, ApiError> {
    let data = models(&front, &request.extensions).await?;
    Ok(json(serde_json::to_vec(&ModelList { object: "list", data }).unwrap_or_default()))
}

async fn retrieve_model(
    State(front): State<Front>,
    Path(name): Path<String>,
    request: Parts,
) -> Result<Response, ApiError> {
    let found = models(&front, &request.extensions).await?.into_iter().find(|model| model.id == name);
    let missing =
        || ApiError::new(StatusCode::NOT_FOUND, reason::MODEL_NOT_FOUND, "the backend has no such model");
    Ok(json(serde_json::to_vec(&found.ok_or_else(missing)?).unwrap_or_default()))
}

async fn models(front: &Front, extensions: &Extensions) -> Result<Vec<ModelBody>, Status> {
    let caller = caller(extensions)?;
    let models = front.chat.models(permit(extensions)?, None).await?;
    Ok(models.into_iter().map(ModelBody::from).filter(|model| caller.knows(&model.id)).collect())
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
