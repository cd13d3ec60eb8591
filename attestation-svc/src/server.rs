//! The layer stack of each listener, outermost first.
//!
//! Enrolment socket: uid of the process at the other end → grpc.health.v1, IdentityService,
//! HealthService. Mutual TLS: certificate of this instance (in the handshake) → grpc.health.v1,
//! EvidenceService, which allows the gateway only.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::Extensions;
use proto::attestation::v1::evidence_service_server::{EvidenceServiceServer, SERVICE_NAME as EVIDENCE};
use proto::attestation::v1::health_service_server::{HealthServiceServer, SERVICE_NAME as HEALTH};
use proto::attestation::v1::identity_service_server::{IdentityServiceServer, SERVICE_NAME as IDENTITY};
use proto::reason;
use service_runtime::{
    Callers, CancellationToken, Condition, Connection, Incoming, Limits, Observer, Ops, Routes as Paths,
    Server, TaskTracker, no_scope,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::health_server::SERVICE_NAME as GRPC_HEALTH;
use tonic_health::server::health_reporter;
use tracing::warn;

use crate::authority::Authority;
use crate::enrolment::{Identity, Session, Socket, Sockets};
use crate::refusals::Refusals;
use crate::rpc::evidence::EvidenceRequests;
use crate::rpc::health::Leases;
use crate::rpc::identity::Identities;

/// Bytes of a request; ours have under 2,000.
const MAX_REQUEST: usize = 16 * 1024;
/// The connection is the holder, so it lives as long as the holder does.
const FOREVER: Duration = Duration::from_hours(10 * 366 * 24);
/// Connections to one enrolment socket: the holder, its successor, and a few that are refused.
const ENROLMENT_CONNECTIONS: usize = 16;

/// Serves every listener until `shutdown`; `limits` are those of the mutual TLS listener, and the
/// drain of all.
pub(crate) async fn serve(
    sockets: Sockets,
    listener: TcpListener,
    authority: Arc<Authority>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let servers = TaskTracker::new();
    let Sockets { sockets, lock } = sockets;
    for Socket { listener, identity, file } in sockets {
        let server = enrolment(&authority, identity, limits.drain, &shutdown).await;
        let serving = server.serve(Incoming::Unix(listener), shutdown.clone());
        servers.spawn(async move {
            serving.await;
            drop(file);
        });
    }
    servers.spawn(evidence(&authority, limits).await.serve(Incoming::Tcp(listener), shutdown));
    servers.close();
    servers.wait().await;
    drop(lock);
}

/// From now on the service is ready until it is asked to stop.
pub(crate) async fn tell_readiness(ops: &Ops, shutdown: &CancellationToken) {
    let (health, grpc_health) = health_reporter();
    health.set_serving::<EvidenceServiceServer<EvidenceRequests>>().await;
    let stopping = shutdown.clone();
    let ready = move || {
        let not_stopping = Condition { name: "not-stopping", holds: !stopping.is_cancelled() };
        vec![Condition { name: "evidence", holds: true }, not_stopping]
    };
    ops.ready_when(Routes::new(grpc_health).into_axum_router(), ready);
}

async fn enrolment(
    authority: &Arc<Authority>,
    identity: Identity,
    drain: Duration,
    shutdown: &CancellationToken,
) -> Server {
    let identities = Identities { authority: Arc::clone(authority), shutdown: shutdown.clone() };
    let leases = Leases { authority: Arc::clone(authority), shutdown: shutdown.clone() };
    let (health, grpc_health) = health_reporter();
    health.set_serving::<IdentityServiceServer<Identities>>().await;
    health.set_serving::<HealthServiceServer<Leases>>().await;
    let routes = Routes::new(grpc_health)
        .add_service(IdentityServiceServer::new(identities).max_decoding_message_size(MAX_REQUEST))
        .add_service(HealthServiceServer::new(leases).max_decoding_message_size(MAX_REQUEST));
    let uid = identity.uid;
    let scope = move |_: &Arc<Connection>| {
        let mut extensions = Extensions::new();
        extensions.insert(Arc::new(Session::new(identity.clone())));
        extensions
    };
    Server {
        router: routes.into_axum_router().layer(from_fn(move |request, next| only_uid(uid, request, next))),
        tls: None,
        scope: Arc::new(scope),
        limits: Limits { age: FOREVER, connections: ENROLMENT_CONNECTIONS, drain, ..Limits::default() },
        recycle: watch::channel(0).1,
        observer: observer("enrolment", authority),
    }
}

async fn evidence(authority: &Arc<Authority>, limits: Limits) -> Server {
    let refusals = Arc::new(Refusals::new(Arc::clone(&authority.clock)));
    let requests = EvidenceRequests { authority: Arc::clone(authority), refusals };
    let (health, grpc_health) = health_reporter();
    health.set_serving::<EvidenceServiceServer<EvidenceRequests>>().await;
    let router: Router = Routes::new(grpc_health)
        .add_service(EvidenceServiceServer::new(requests).max_decoding_message_size(MAX_REQUEST))
        .into_axum_router();
    let (authority, observer) = (Arc::clone(authority), observer("evidence", authority));
    Server {
        router,
        tls: Some(Arc::new(move || authority.server_tls())),
        scope: no_scope(),
        limits,
        recycle: watch::channel(0).1,
        observer,
    }
}

fn observer(listener: &'static str, authority: &Authority) -> Observer {
    let services = [IDENTITY, HEALTH, EVIDENCE, GRPC_HEALTH];
    let requests = authority.metrics.requests.clone();
    Observer::new(listener, Callers::Own, Paths::new(&[], &services), requests)
}

/// Nothing on an enrolment socket answers to a process of another user.
async fn only_uid(uid: u32, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Arc<Connection>>().and_then(|connection| connection.unix_peer);
    if peer.is_some_and(|peer| peer.uid == uid) {
        return next.run(request).await;
    }
    warn!(target: "audit", ?peer, expected = uid, "enrolment refused: wrong uid");
    let message = format!("this socket is for processes of uid {uid} only");
    let status: Status = proto::status(Code::PermissionDenied, reason::ENROLMENT_WRONG_UID, message);
    status.into_http()
}
