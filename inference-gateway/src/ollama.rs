//! Ollama's HTTP interface, for its clients as they are.
//!
//! In front of an Ollama requests are passed on; in front of another model server they are translated: [`request`] →
//! [`crate::chat`] → [`answer`]. What manages models is refused: which there are is the operator's to say.

mod answer;
mod embed;
mod request;

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{Html, IntoResponse, Response},
    routing::{any, get, post},
};
use http::{HeaderMap, Request, StatusCode, header, request::Parts};
use proto::{backend::v1::Endpoint, reason};
use serde_json::{Value, json as value};
use service_runtime::BackendKind;
use snp_evidence::UnixTime;

use crate::{
    dialect::Dialect,
    front::{Asked, Front, Route, name_unrecognised},
    incoming, json,
    openai::{self, error::ApiError},
    relay::{Subject, request::Form},
    streamed,
    upstream::Call,
};
use answer::{Lines, Shape};

/// The paths, as told of.
pub(crate) const PATHS: &[&str] = &[
    "/",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/api/tags",
    "/api/ps",
    "/api/version",
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/api/blobs/{digest}",
];
const MANAGING: [&str; 6] =
    ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/{digest}"];

/// The routes.
pub(crate) fn router(front: Front) -> Router {
    let routes = Router::new()
        .route("/", get(greeting))
        .route("/api/chat", post(async |front, request| answered(chat(front, request, Shape::Chat).await)))
        .route(
            "/api/generate",
            post(async |front, request| answered(chat(front, request, Shape::Generate).await)),
        )
        .route("/api/embed", post(async |front, request| answered(embed(front, request, EMBED).await)))
        .route(
            "/api/embeddings",
            post(async |front, request| answered(embed(front, request, EMBEDDINGS).await)),
        )
        .route("/api/show", post(async |front, request| answered(show(front, request).await)))
        .route("/api/tags", get(async |front, parts| answered(tags(front, parts).await)))
        .route("/api/ps", get(async |front, parts| answered(running(front, parts).await)))
        .route("/api/version", get(version));
    MANAGING.iter().fold(routes, |routes, path| routes.route(path, any(managed))).with_state(front)
}

fn answered(answer: Result<Response, ApiError>) -> Response {
    answer.unwrap_or_else(|error| Dialect::Ollama.refusal(error))
}

/// What Ollama says there, which its clients look for; a browser is told more.
async fn greeting(headers: HeaderMap) -> Response {
    let wants_html = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if wants_html.is_some_and(|accept| accept.contains("text/html")) {
        return Html(PAGE).into_response();
    }
    "Ollama is running".into_response()
}

const PAGE: &str = "<!doctype html><title>Cube</title><p>An LLM inside a confidential VM. Before you send it anything, \
                    check it: <code>cube verify</code>, or <a href=\"/openapi.json\">the interface</a>.";

async fn managed() -> Response {
    let message = "models are fixed by whoever runs this server; /api/tags lists them";
    answered(Err(ApiError::new(StatusCode::FORBIDDEN, reason::MODELS_ARE_FIXED, message)))
}

async fn version() -> Response {
    openai::json(value!({ "version": env!("CARGO_PKG_VERSION") }).to_string())
}

/// `curl -d` sends no JSON type, as Ollama's own examples do; so does a web page that wants to be let in.
async fn read(request: Request<Body>) -> Result<Asked, ApiError> {
    if request.headers().contains_key(header::ORIGIN) {
        openai::require_json(&request)?;
    }
    Asked::read(request).await
}

async fn chat(
    State(front): State<Front>,
    request: Request<Body>,
    shape: Shape,
) -> Result<Response, ApiError> {
    let asked = read(request).await?;
    if front.backend == BackendKind::Ollama {
        let route = if shape == Shape::Chat { CHAT } else { GENERATE };
        return front.pass_on(&route, &asked).await;
    }
    let request::Asked { spec, stream, left_out } = request::parse(&asked.body, shape)?;
    let Some(spec) = spec else { return Ok(answer::loaded(&asked_model(&asked.body)?, &now(&front))) };
    let Asked { permit, caller, request_id, .. } = asked;
    let lines = Lines::new(shape, front.clock.clone());
    let call = Call::of(&caller, request_id, spec, None)?;
    let mut response = if stream {
        let body = streamed::body(lines.of(front.chat.stream(&permit, call).await?), Dialect::Ollama);
        ([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], body)
            .into_response()
    } else {
        openai::json(lines.whole(&front.chat.whole(&permit, call).await?))
    };
    name_unrecognised(&mut response, left_out.join(", "));
    Ok(response)
}

async fn embed(
    State(front): State<Front>,
    request: Request<Body>,
    route: Route,
) -> Result<Response, ApiError> {
    let asked = read(request).await?;
    if front.backend == BackendKind::Ollama {
        return front.pass_on(&route, &asked).await;
    }
    let legacy = route.endpoint == Endpoint::OllamaEmbeddings;
    let request = embed::parse(&asked.body, legacy)?;
    asked.caller.may_ask(&request.model)?;
    let call = asked.call(Endpoint::OpenaiEmbeddings, request.body.into());
    let subject = Subject { operation: route.operation, model: &request.model, caller: &asked.caller };
    let answer = front.relay.ask(&asked.permit, call, subject).await?.whole().await?;
    let mut response = openai::json(embed::answer(&answer, &request.model, legacy)?);
    name_unrecognised(&mut response, request.left_out.join(", "));
    Ok(response)
}

async fn show(State(front): State<Front>, request: Request<Body>) -> Result<Response, ApiError> {
    let asked = read(request).await?;
    if front.backend == BackendKind::Ollama {
        return front.pass_on(&SHOW, &asked).await;
    }
    let name = asked_model(&asked.body)?;
    asked.caller.may_ask(&name)?;
    let models = front.chat.models(&asked.permit, None).await?;
    if !models.iter().any(|model| model.name.strip_prefix("models/") == Some(&name)) {
        let message = "the backend has no such model";
        return Err(ApiError::new(StatusCode::NOT_FOUND, reason::MODEL_NOT_FOUND, message));
    }
    let body = value!({
        "modified_at": now(&front), "details": details(), "model_info": {}, "capabilities": ["completion"],
    });
    Ok(openai::json(body.to_string()))
}

/// `model`, or `name` as it once was.
fn asked_model(body: &[u8]) -> Result<String, ApiError> {
    let object = json::document(body)?.object()?;
    let field = object.get("model").or_else(|| object.get("name"));
    field.ok_or_else(|| ApiError::invalid("model", "model is required"))?.string()
}

async fn tags(State(front): State<Front>, parts: Parts) -> Result<Response, ApiError> {
    let caller = incoming::caller(&parts.extensions)?;
    // Who may not see all gets a list of ours.
    if front.backend == BackendKind::Ollama && !caller.is_restricted() {
        return listed(&front, &parts, Endpoint::OllamaTags).await;
    }
    let models = front.chat.models(incoming::permit(&parts.extensions)?, None).await?;
    let at = now(&front);
    let model = |name: &str| {
        value!({
            "name": name, "model": name, "modified_at": at, "size": 0, "digest": "", "details": details(),
        })
    };
    let names = models.iter().map(|model| model.name.trim_start_matches("models/"));
    let names = names.filter(|name| caller.knows(name));
    Ok(openai::json(value!({ "models": names.map(model).collect::<Vec<_>>() }).to_string()))
}

/// Other model servers load no models by themselves: none is told of.
async fn running(State(front): State<Front>, parts: Parts) -> Result<Response, ApiError> {
    let caller = incoming::caller(&parts.extensions)?;
    if front.backend == BackendKind::Ollama && !caller.is_restricted() {
        return listed(&front, &parts, Endpoint::OllamaPs).await;
    }
    Ok(openai::json(value!({ "models": [] }).to_string()))
}

async fn listed(front: &Front, parts: &Parts, endpoint: Endpoint) -> Result<Response, ApiError> {
    let asked = Asked {
        permit: incoming::permit(&parts.extensions)?.clone(),
        caller: incoming::caller(&parts.extensions)?.clone(),
        request_id: incoming::id(&parts.extensions)?,
        body: bytes::Bytes::new(),
    };
    let subject = Subject { operation: "models", model: "", caller: &asked.caller };
    let answer = front.relay.ask(&asked.permit, asked.call(endpoint, bytes::Bytes::new()), subject).await?;
    Ok(answer.respond(Dialect::Ollama).await?)
}

fn details() -> Value {
    value!({ "format": "", "family": "", "families": null, "parameter_size": "", "quantization_level": "" })
}

fn now(front: &Front) -> String {
    UnixTime(front.clock.unix()).to_string()
}

const fn route(
    endpoint: Endpoint,
    operation: &'static str,
    streams: bool,
    known: &'static [&'static [&'static str]],
) -> Route {
    let form = Form { known, streams, generates: false, names_model: false };
    Route { endpoint, dialect: Dialect::Ollama, operation, form }
}

const COMMON: &[&str] = &[
    "model",
    "stream",
    "format",
    "options",
    "keep_alive",
    "think",
    "logprobs",
    "top_logprobs",
    "truncate",
    "shift",
];
const CHAT: Route = route(Endpoint::OllamaChat, "chat", true, &[COMMON, &["messages", "tools"]]);
const GENERATE: Route = route(
    Endpoint::OllamaGenerate,
    "text_completion",
    true,
    &[COMMON, &["prompt", "suffix", "images", "system", "template", "context", "raw"]],
);
const EMBED: Route = route(Endpoint::OllamaEmbed, "embeddings", false, &[COMMON, &["input", "dimensions"]]);
const EMBEDDINGS: Route = route(Endpoint::OllamaEmbeddings, "embeddings", false, &[COMMON, &["prompt"]]);
const SHOW: Route = route(Endpoint::OllamaShow, "models", false, &[&["model", "name", "verbose"]]);
