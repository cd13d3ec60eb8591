//! The listener's routes and *the* layer stack.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use health_gate::{Gate, GateLayer};
use http::request::Parts;
use mtls::{Role, SpiffeId, peer_of};
use proto::{
    backend::v1::backend_service_server::{BackendServiceServer, SERVICE_NAME as BACKEND},
    reason,
};
use service_runtime::{Connection, Routes};
use tonic::{Code, Status};
use tonic_health::pb::health_server::{Health, HealthServer, SERVICE_NAME as HEALTH};

use crate::{
    generate::{Limits, ModelServer},
    rpc::Rpc,
};

/// Bytes that a request may have beyond its limit, which is the gateway's own, so that the gateway,
/// whose caller can be told, is the one that refuses.
const REQUEST_SLACK: usize = 64 << 10;

/// Everything that the listener answers. The layers, outermost first:
///
/// 1. *peer*: who may call which method, by the SVID of the connection;
/// 2. *gate*: without a lease nothing further in is reached but health, and no body is read;
/// 3. the routes; `Generate` and `ListModels` take the attachment of their connection themselves,
///    because the connection to the model server is made with it.
pub(crate) fn router(server: Arc<ModelServer>, gate: Gate, health: HealthServer<impl Health>) -> Router {
    let Limits { body, frame, .. } = server.limits;
    let backend = BackendServiceServer::new(Rpc { server })
        .max_decoding_message_size(body + REQUEST_SLACK)
        // One event, which is hardly larger than the frame that it came in.
        .max_encoding_message_size(2 * frame);
    // axum puts the layer that is added last outermost.
    health_routes(health)
        .route_service(&format!("/{BACKEND}/{{*method}}"), backend)
        .fallback(async || unknown_method().into_http::<axum::body::Body>())
        .layer(GateLayer::new(gate, is_health))
        .layer(from_fn(known_peer))
}

/// `grpc.health.v1`.
pub(crate) fn health_routes(health: HealthServer<impl Health>) -> Router {
    Router::new().route_service(&format!("/{HEALTH}/{{*method}}"), health)
}

/// The paths that are told of by name.
pub(crate) fn paths() -> Routes {
    Routes::new(&[], &[BACKEND, HEALTH])
}

fn is_health(request: &Parts) -> bool {
    service(request.uri.path()) == Some(HEALTH)
}

fn service(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split_once('/').map(|(service, _)| service)
}

async fn known_peer(request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>();
    let peer = connection.and_then(|connection| peer_of(connection).ok());
    match authorize(peer.as_ref(), request.uri().path()) {
        Ok(()) => next.run(request).await,
        Err(status) => status.into_http(),
    }
}

/// The only statement of who may call what: the gateway these, every identity of the CVM health,
/// and nobody anything else.
fn authorize(peer: Option<&SpiffeId>, path: &str) -> Result<(), Status> {
    const FOR_THE_GATEWAY: [&str; 3] = [
        "/cube.backend.v1.BackendService/Attach",
        "/cube.backend.v1.BackendService/Generate",
        "/cube.backend.v1.BackendService/ListModels",
    ];
    let not_allowed = |message| proto::status(Code::PermissionDenied, reason::PEER_NOT_ALLOWED, message);
    let peer = peer.ok_or_else(|| not_allowed("the connection shows no identity of this CVM".to_owned()))?;
    if service(path) == Some(HEALTH) {
        return Ok(());
    }
    if !FOR_THE_GATEWAY.contains(&path) {
        return Err(unknown_method());
    }
    if peer.role() != Role::Gateway {
        return Err(not_allowed(format!("{} may not call this method; only gateway may", peer.role())));
    }
    Ok(())
}

fn unknown_method() -> Status {
    proto::status(Code::Unimplemented, reason::UNKNOWN_METHOD, "no such gRPC method")
}

#[cfg(test)]
mod tests;
