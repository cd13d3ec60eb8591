//! The public listener: its routes and *the* layer stack.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;
use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use grpc_surface::{Callers, EVERYWHERE, Methods, Serving, Surface, unknown_method};
use health_gate::{Gate, GateLayer};
use http::{HeaderMap, HeaderValue, header};
use mtls::CallerCertificate;
use proto::{
    attestation::v1::attestation_service_server::{AttestationServiceServer, SERVICE_NAME as ATTESTATION},
    inference::v1::{
        inference_service_server::{InferenceServiceServer, SERVICE_NAME as INFERENCE},
        model_service_server::{ModelServiceServer, SERVICE_NAME as MODELS},
    },
    reason,
};
use service_runtime::{BackendKind, CancellationToken, Clock, Routes, Scope};
use tonic::{Code, Status};

use crate::{
    body::{Bounds, bounded, too_large},
    callers::{Admission, Door, known},
    chat::{AnswerLimits, Chat, ChatMetrics},
    evidence::{self, Attestation},
    front::Front,
    ollama, openai,
    relay::Relay,
    request_id::{self, RequestId},
    rpc::{Inference, Models},
    upstream::{Backend, Evidence},
};

/// What the listener serves with.
#[derive(Clone)]
pub struct Gateway {
    /// Answers chat requests.
    pub backend: Arc<dyn Backend>,
    /// What the model server behind it speaks.
    pub kind: BackendKind,
    /// Whether parameters that Cube does not know are refused where requests are passed on.
    pub strict: bool,
    /// Who may ask.
    pub callers: crate::Callers,
    /// How much at once.
    pub admission: Admission,
    /// Keeps callers apart in what the model server remembers.
    pub salts: hmac::Key,
    /// Makes evidence.
    pub evidence: Arc<dyn Evidence>,
    /// Whether anything may be served.
    pub gate: Gate,
    /// Dates answers.
    pub clock: Arc<dyn Clock>,
    /// Bounds on requests and answers.
    pub limits: AnswerLimits,
    /// Cancelled when the gateway begins to stop.
    pub draining: CancellationToken,
    /// Time and tokens of answers.
    pub metrics: ChatMetrics,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// Everything that the public listener answers. The layers, outermost first:
///
/// 1. *request id*: an answer has one, whoever gives it, and a caller's own is never read;
/// 2. *gate*: without a lease nothing further in is reached but health, and no body is read;
/// 3. *caller*: whose request it is, and a place for it; evidence and health need neither;
/// 4. *body bounds*: size and time of the request's body, and the size of all of them together;
/// 5. *reasons*: a gRPC failure that a library made gets a stable reason;
/// 6. *guard*, before gRPC alone: what the table of methods does not give to everybody is refused;
/// 7. the routes.
pub fn router(gateway: Gateway) -> Router {
    let AnswerLimits { body, unary, bodies, .. } = gateway.limits;
    let (routes, methods) = routes(&gateway);
    let door = Door {
        callers: gateway.callers,
        admission: gateway.admission,
        clock: gateway.clock,
        salts: gateway.salts,
    };
    // axum puts the layer that is added last outermost.
    routes
        .layer(from_fn(with_reason))
        .layer(from_fn_with_state(Bounds::new(body, unary, bodies), bounded))
        .layer(from_fn_with_state(door, known))
        .layer(GateLayer::new(gateway.gate, move |request| methods.answers_while_shut(request.uri.path())))
        .layer(from_fn(with_request_id))
}

fn routes(gateway: &Gateway) -> (Router, Methods) {
    let chat = Chat::new(gateway.backend.clone(), gateway.limits.clone(), gateway.metrics.clone());
    let relay = Relay::new(gateway.backend.clone(), gateway.limits.clone(), gateway.metrics.clone());
    let front = Front {
        chat: chat.clone(),
        relay: relay.clone(),
        backend: gateway.kind,
        strict: gateway.strict,
        clock: gateway.clock.clone(),
    };
    let attestation = Attestation { evidence: gateway.evidence.clone(), limit: gateway.limits.evidence };
    let (grpc, methods) = grpc(gateway, &chat, &relay, &attestation);
    let routes = grpc
        .merge(openai::router(front.clone()))
        .merge(ollama::router(front))
        .merge(evidence::router(attestation))
        .method_not_allowed_fallback(async || openai::no_such_method())
        .fallback(no_such_path);
    (routes, methods)
}

fn grpc(gateway: &Gateway, chat: &Chat, relay: &Relay, attestation: &Attestation) -> (Router, Methods) {
    let inference = InferenceServiceServer::new(Inference {
        chat: chat.clone(),
        relay: relay.clone(),
        kind: gateway.kind,
    });
    Surface::new(Callers::Public)
        .serve(inference.max_decoding_message_size(gateway.limits.body))
        .serve(ModelServiceServer::new(Models(chat.clone())))
        .serve(AttestationServiceServer::new(attestation.clone()))
        .finish(serving(gateway))
}

/// `grpc.health.v1` alone, as the public listener has it.
pub(crate) fn health(gateway: &Gateway) -> Router {
    grpc_surface::health(serving(gateway), &SERVICES)
}

/// What `grpc.health.v1` says: the lease, until a stop is asked for.
fn serving(gateway: &Gateway) -> Serving {
    let (gate, changes) = (gateway.gate.clone(), gateway.gate.watch());
    Serving::new(move || gate.is_open(), changes, gateway.draining.clone())
}

/// What every request of a connection carries, for the accept loop.
pub fn scope() -> Scope {
    Arc::new(|connection| {
        let mut extensions = evidence::places();
        if let Some(certificate) = CallerCertificate::of(connection) {
            extensions.insert(certificate);
        }
        extensions
    })
}

/// Cube's own services here.
const SERVICES: [&str; 3] = [INFERENCE, MODELS, ATTESTATION];

/// Those that are no gRPC, as routes.
pub fn http_paths() -> Vec<&'static str> {
    [openai::paths().as_slice(), ollama::PATHS, evidence::PATHS].concat()
}

/// The paths that are told of by name; every other one is `unmatched`.
pub fn paths() -> Routes {
    Routes::new(&http_paths(), &[SERVICES.as_slice(), EVERYWHERE.as_slice()].concat())
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

async fn no_such_path(request: Request) -> Response {
    if is_grpc(request.headers()) { unknown_method().into_http() } else { openai::no_such_path() }
}

async fn with_request_id(mut request: Request, next: Next) -> Response {
    let Ok(id) = RequestId::random() else {
        let status = proto::status(Code::Internal, reason::INTERNAL, "no random bytes could be had");
        return openai::error::ApiError::from(status).into_response();
    };
    let value = id.header_value();
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    response.headers_mut().insert(request_id::HEADER, value);
    response
}

/// Generated servers refuse what they cannot read without saying why in our way.
async fn with_reason(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let refusal = is_grpc(response.headers()).then(|| Status::from_header_map(response.headers())).flatten();
    match refusal.as_ref().and_then(reasoned) {
        Some(status) => status.into_http::<Body>(),
        None => response,
    }
}

/// The refusal to give in place of `status`, where that is a library's.
fn reasoned(status: &Status) -> Option<Status> {
    if status.code() == Code::Ok || proto::reason_of(status).is_some() {
        return None;
    }
    if status.code() == Code::OutOfRange {
        return Some(too_large());
    }
    // Nothing else can go wrong before a handler is reached.
    let message = "the request cannot be decoded; messages must not be compressed";
    Some(proto::status(Code::InvalidArgument, reason::INVALID_REQUEST, message))
}
