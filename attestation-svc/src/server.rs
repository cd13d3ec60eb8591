//! The layer stack of each listener, outermost first.
//!
//! Enrolment socket: uid of the process at the other end → grpc.health.v1, IdentityService,
//! HealthService. Administrator's socket: root or our own user → AdminService. Mutual TLS:
//! certificate of this instance (in the handshake) → grpc.health.v1, EvidenceService, which allows
//! the gateway only.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::Extensions;
use nix::unistd::geteuid;
use proto::attestation::v1::admin_service_server::{AdminServiceServer, SERVICE_NAME as ADMIN};
use proto::attestation::v1::evidence_service_server::{EvidenceServiceServer, SERVICE_NAME as EVIDENCE};
use proto::attestation::v1::health_service_server::{HealthServiceServer, SERVICE_NAME as HEALTH};
use proto::attestation::v1::identity_service_server::{IdentityServiceServer, SERVICE_NAME as IDENTITY};
use proto::reason;
use service_runtime::{
    Callers, CancellationToken, Condition, Connection, Incoming, Limits, Observer, Ops, Routes as Paths,
    Server, TaskTracker, UnixPeer, no_scope,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::health_server::SERVICE_NAME as GRPC_HEALTH;
use tonic_health::server::health_reporter;
use tracing::warn;

use crate::authority::Authority;
use crate::enrolment::{Identity, Session};
use crate::refusals::Refusals;
use crate::rpc::admin::Administration;
use crate::rpc::evidence::EvidenceRequests;
use crate::rpc::health::Leases;
use crate::rpc::identity::Identities;
use crate::run_dir::{Socket, Sockets};

/// Bytes of a request; ours have under 2,000.
const MAX_REQUEST: usize = 16 * 1024;
/// The connection is the holder, so it lives as long as the holder does.
const FOREVER: Duration = Duration::from_hours(10 * 366 * 24);
/// Connections to one unix socket: the holder, its successor, and a few that are refused.
const SOCKET_CONNECTIONS: usize = 16;

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
    let Sockets { enrolment: sockets, admin: socket, lock } = sockets;
    for (identity, socket) in sockets {
        let server = enrolment(&authority, identity, limits.drain, &shutdown).await;
        servers.spawn(serve_on(socket, server, &shutdown));
    }
    servers.spawn(serve_on(socket, admin(&authority, limits.drain), &shutdown));
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

/// Serves on `socket`, which disappears afterwards.
fn serve_on(
    socket: Socket,
    server: Server,
    shutdown: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let Socket { listener, file } = socket;
    let serving = server.serve(Incoming::Unix(listener), shutdown.clone());
    async move {
        serving.await;
        drop(file);
    }
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
    let scope = move |connection: &Arc<Connection>| {
        let pid = connection.unix_peer.and_then(|peer| peer.pid);
        let mut extensions = Extensions::new();
        extensions.insert(Arc::new(Session::new(identity.clone(), pid)));
        extensions
    };
    Server {
        router: routes.into_axum_router().layer(from_fn(move |request, next| only_uid(uid, request, next))),
        tls: None,
        scope: Arc::new(scope),
        limits: Limits { age: FOREVER, connections: SOCKET_CONNECTIONS, drain, ..Limits::default() },
        recycle: watch::channel(0).1,
        observer: observer("enrolment", authority),
    }
}

fn admin(authority: &Arc<Authority>, drain: Duration) -> Server {
    Server {
        router: admin_router(authority),
        tls: None,
        scope: no_scope(),
        limits: Limits { connections: SOCKET_CONNECTIONS, drain, ..Limits::default() },
        recycle: watch::channel(0).1,
        observer: observer("admin", authority),
    }
}

fn admin_router(authority: &Arc<Authority>) -> Router {
    let service = AdminServiceServer::new(Administration { authority: Arc::clone(authority) });
    Routes::new(service.max_decoding_message_size(MAX_REQUEST)).into_axum_router().layer(from_fn(only_admin))
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
    let services = [ADMIN, IDENTITY, HEALTH, EVIDENCE, GRPC_HEALTH];
    let requests = authority.metrics.requests.clone();
    Observer::new(listener, Callers::Own, Paths::new(&[], &services), requests)
}

/// Nothing on an enrolment socket answers to a process of another user.
async fn only_uid(uid: u32, request: Request, next: Next) -> Response {
    let peer = unix_peer(&request);
    if peer.is_some_and(|peer| peer.uid == uid) {
        return next.run(request).await;
    }
    warn!(target: "audit", ?peer, expected = uid, "enrolment refused: wrong uid");
    let message = format!("this socket is for processes of uid {uid} only");
    let status: Status = proto::status(Code::PermissionDenied, reason::ENROLMENT_WRONG_UID, message);
    status.into_http()
}

/// Whoever may become us could do all this anyway, and nobody else may.
async fn only_admin(request: Request, next: Next) -> Response {
    let (peer, own) = (unix_peer(&request), geteuid().as_raw());
    if peer.is_some_and(|peer| peer.uid == 0 || peer.uid == own) {
        return next.run(request).await;
    }
    warn!(target: "audit", ?peer, "administrator's call refused: wrong uid");
    let message = format!("this socket is for processes of root and of uid {own} only");
    let status: Status = proto::status(Code::PermissionDenied, reason::ADMIN_WRONG_UID, message);
    status.into_http()
}

fn unix_peer(request: &Request) -> Option<UnixPeer> {
    request.extensions().get::<Arc<Connection>>().and_then(|connection| connection.unix_peer)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    /// How a call by a process of `uid` is answered; `None` = not over a unix socket.
    async fn answer(uid: Option<u32>) -> Status {
        let peer = uid.map(|uid| UnixPeer { uid, gid: 0, pid: None });
        let connection = Connection { id: 1, peer: None, tls: None, unix_peer: peer };
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Arc::new(connection));
        let answered = || async { Status::ok("").into_http::<Body>() };
        let router = Router::new().route("/", get(answered)).layer(from_fn(only_admin));
        let answer = router.oneshot(request).await.unwrap_or_else(|never| match never {});
        Status::from_header_map(answer.headers()).unwrap()
    }

    #[tokio::test]
    async fn only_root_and_our_own_user_are_administrators() {
        let own = geteuid().as_raw();
        for uid in [0, own] {
            assert_eq!(answer(Some(uid)).await.code(), Code::Ok);
        }
        for uid in [Some(own + 1), Some(u32::MAX), None] {
            let refused = answer(uid).await;
            assert_eq!(refused.code(), Code::PermissionDenied);
            assert_eq!(proto::reason_of(&refused).as_deref(), Some(reason::ADMIN_WRONG_UID));
        }
    }
}
