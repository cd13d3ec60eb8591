//! The listener's routes and *the* layer stack.

use std::sync::Arc;

use axum::Router;
use grpc_surface::{Callers, EVERYWHERE, Methods, Serving, Surface};
use health_gate::{Gate, GateLayer, Holder};
use proto::backend::v1::backend_service_server::{BackendServiceServer, SERVICE_NAME as BACKEND};
use service_runtime::{CancellationToken, Condition, Routes};

use crate::{
    model_server::{AnswerLimits, ModelServer},
    rpc::Rpc,
};

/// Bytes that a request may have beyond its limit, which is the gateway's own, so that the gateway,
/// whose caller can be told, is the one that refuses.
const REQUEST_SLACK: usize = 64 << 10;

/// Everything that the listener answers. The layers, outermost first:
///
/// 1. *gate*: without a lease nothing further in is reached but health, and no body is read;
/// 2. *guard*: who may call which method, by the SVID of the connection;
/// 3. the routes; `Generate` and `ListModels` take the attachment of their connection themselves,
///    because the connection to the model server is made with it.
pub(crate) fn router(server: Arc<ModelServer>, gate: Gate, serving: Serving) -> Router {
    let (router, methods) = guarded(server, serving);
    router.layer(GateLayer::new(gate, move |request| methods.answers_while_shut(request.uri.path())))
}

fn guarded(server: Arc<ModelServer>, serving: Serving) -> (Router, Methods) {
    let AnswerLimits { body, frame, .. } = server.limits;
    let backend = BackendServiceServer::new(Rpc { server })
        .max_decoding_message_size(body + REQUEST_SLACK)
        // One event, which is hardly larger than the frame that it came in.
        .max_encoding_message_size(2 * frame);
    Surface::new(Callers::Svid).serve(backend).finish(serving)
}

/// The paths that are told of by name.
pub(crate) fn paths() -> Routes {
    Routes::new(&[], &[&[BACKEND], EVERYWHERE.as_slice()].concat())
}

/// `grpc.health.v1`, for the port of probes.
pub(crate) fn health(serving: Serving) -> Router {
    grpc_surface::health(serving, &[BACKEND])
}

/// What `grpc.health.v1` says: the lease, until a stop is asked for.
pub(crate) fn serving(holder: &Holder, stop: &CancellationToken) -> Serving {
    let (gate, changes) = (holder.gate(), holder.gate().watch());
    Serving::new(move || gate.is_open(), changes, stop.clone())
}

/// What `/readyz` asks for. Whether the model server answers is the gateway's question: only its
/// requests may reach it.
pub(crate) fn conditions(gate: &Gate, stop: &CancellationToken) -> Vec<Condition> {
    vec![
        Condition { name: "lease", holds: gate.is_open() },
        Condition { name: "not-stopping", holds: !stop.is_cancelled() },
    ]
}

#[cfg(test)]
mod tests;
