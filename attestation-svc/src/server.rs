//! The layer stack of each listener, outermost first.
//!
//! Enrolment socket: guard (uid of the process at the other end) → IdentityService, HealthService.
//! Mesh's socket: guard (uid of the proxy) → Envoy's external authorization and secret discovery.
//! Administrator's socket: guard (root or our own user) → AdminService. Mutual TLS: certificate of this
//! instance (in the handshake) → guard (its role) → EvidenceService. Each also answers grpc.health.v1 and
//! reflection. There is no gate: this service grants the leases.

use std::sync::Arc;
use std::time::Duration;

use grpc_surface::{Callers, EVERYWHERE, Serving, Surface};
use http::Extensions;
use nix::unistd::geteuid;
use proto::access::Caller;
use proto::attestation::v1::admin_service_server::{AdminServiceServer, SERVICE_NAME as ADMIN};
use proto::attestation::v1::evidence_service_server::{EvidenceServiceServer, SERVICE_NAME as EVIDENCE};
use proto::attestation::v1::health_service_server::{HealthServiceServer, SERVICE_NAME as HEALTH};
use proto::attestation::v1::identity_service_server::{IdentityServiceServer, SERVICE_NAME as IDENTITY};
use proto::envoy::auth::authorization_server::{AuthorizationServer, SERVICE_NAME as AUTHORIZATION};
use proto::envoy::secret::secret_discovery_service_server::{
    SERVICE_NAME as SECRETS, SecretDiscoveryServiceServer,
};
use service_runtime::{
    CancellationToken, Condition, Connection, ConnectionLimits, Incoming, Observer, Ops, Routes, Server,
    TaskTracker, TraceContext, no_scope,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::batch::Batches;
use crate::enrolment::{Identity, Session};
use crate::jwks;
use crate::refusals::Refusals;
use crate::rpc::admin::Administration;
use crate::rpc::authz::Gates;
use crate::rpc::evidence::EvidenceRequests;
use crate::rpc::health::Leases;
use crate::rpc::identity::Identities;
use crate::rpc::secrets::Secrets;
use crate::run_dir::{Socket, Sockets};

/// Bytes of a request; ours have under 2,000.
const MAX_REQUEST: usize = 16 * 1024;
/// The same of a proxy, which tells of a request's headers and certificate, and of itself: Envoy lists its 60 KB of extensions.
const MAX_PROXY: usize = 256 * 1024;
/// The same of 512 challenges.
const MAX_CHALLENGES: usize = 128 * 1024;
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
    limits: ConnectionLimits,
    shutdown: CancellationToken,
) {
    let servers = TaskTracker::new();
    let Sockets { enrolment: sockets, admin: socket, mesh: proxy, lock } = sockets;
    for (identity, socket) in sockets {
        let server = enrolment(&authority, identity, limits.drain, &shutdown);
        servers.spawn(serve_on(socket, server, &shutdown));
    }
    if let Some((uid, socket)) = proxy {
        servers.spawn(serve_on(socket, mesh(&authority, uid, limits.drain, &shutdown), &shutdown));
    }
    servers.spawn(serve_on(socket, admin(&authority, limits.drain, &shutdown), &shutdown));
    servers.spawn(evidence(&authority, limits, &shutdown).serve(Incoming::Tcp(listener), shutdown));
    servers.close();
    servers.wait().await;
    drop(lock);
}

/// From now on the service is ready, while it vouches for this machine and until it is asked to stop.
pub(crate) fn tell_readiness(ops: &Ops, authority: &Arc<Authority>, shutdown: &CancellationToken) {
    let health =
        grpc_surface::health(vouching(authority, shutdown), &[EVIDENCE]).merge(jwks::router(authority));
    let (stopping, authority) = (shutdown.clone(), Arc::clone(authority));
    let ready = move || {
        let not_stopping = Condition { name: "not-stopping", holds: !stopping.is_cancelled() };
        vec![Condition { name: "evidence", holds: authority.vouching.check().is_ok() }, not_stopping]
    };
    ops.ready_when(health, ready);
}

fn vouching(authority: &Arc<Authority>, shutdown: &CancellationToken) -> Serving {
    let (changes, authority) = (authority.vouching.changes(), Arc::clone(authority));
    Serving::new(move || authority.vouching.check().is_ok(), changes, shutdown.clone())
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

fn enrolment(
    authority: &Arc<Authority>,
    identity: Identity,
    drain: Duration,
    shutdown: &CancellationToken,
) -> Server {
    let identities = Identities { authority: Arc::clone(authority), shutdown: shutdown.clone() };
    let leases = Leases { authority: Arc::clone(authority), shutdown: shutdown.clone() };
    // Nothing on an enrolment socket answers to a process of another user.
    let callers = Callers::Process { uid: identity.of.uid, caller: Caller::Enrolling };
    let (router, _) = Surface::new(callers)
        .serve(IdentityServiceServer::new(identities).max_decoding_message_size(MAX_REQUEST))
        .serve(HealthServiceServer::new(leases).max_decoding_message_size(MAX_REQUEST))
        .finish(vouching(authority, shutdown));
    let scope = move |connection: &Arc<Connection>| {
        let mut extensions = Extensions::new();
        extensions.insert(Arc::new(Session::new(identity.clone(), connection.unix_peer.clone())));
        extensions
    };
    Server {
        router,
        tls: None,
        scope: Arc::new(scope),
        limits: of_a_holder(drain),
        recycle: watch::channel(0).1,
        observer: observer("enrolment", authority),
    }
}

/// Of connections that are somebody's for as long as it lives.
fn of_a_holder(drain: Duration) -> ConnectionLimits {
    let connections = SOCKET_CONNECTIONS;
    ConnectionLimits { age: FOREVER, connections, drain, ..ConnectionLimits::default() }
}

fn admin(authority: &Arc<Authority>, drain: Duration, shutdown: &CancellationToken) -> Server {
    let service = AdminServiceServer::new(Administration { authority: Arc::clone(authority) });
    // Whoever may become us could do all this anyway, and nobody else may.
    let callers = Callers::Process { uid: geteuid().as_raw(), caller: Caller::Administrator };
    let (router, _) = Surface::new(callers)
        .serve(service.max_decoding_message_size(MAX_REQUEST))
        .finish(Serving::until(shutdown.clone()));
    Server {
        router,
        tls: None,
        scope: no_scope(),
        limits: ConnectionLimits { connections: SOCKET_CONNECTIONS, drain, ..ConnectionLimits::default() },
        recycle: watch::channel(0).1,
        observer: observer("admin", authority),
    }
}

fn mesh(authority: &Arc<Authority>, uid: u32, drain: Duration, shutdown: &CancellationToken) -> Server {
    let gates = AuthorizationServer::new(Gates { authority: Arc::clone(authority) });
    let secrets = Secrets { authority: Arc::clone(authority), shutdown: shutdown.clone() };
    let secrets = SecretDiscoveryServiceServer::new(secrets).max_decoding_message_size(MAX_PROXY);
    let (router, _) = Surface::new(Callers::Process { uid, caller: Caller::Proxy })
        .serve(gates.max_decoding_message_size(MAX_PROXY))
        .serve(secrets)
        .finish(vouching(authority, shutdown));
    Server {
        router,
        tls: None,
        scope: no_scope(),
        limits: of_a_holder(drain),
        recycle: watch::channel(0).1,
        observer: observer("mesh", authority),
    }
}

fn evidence(authority: &Arc<Authority>, limits: ConnectionLimits, shutdown: &CancellationToken) -> Server {
    let refusals = Arc::new(Refusals::new(Arc::clone(&authority.clock)));
    let batches = Batches::start(Arc::clone(authority));
    let requests = EvidenceRequests { authority: Arc::clone(authority), refusals, batches };
    let (router, _) = Surface::new(Callers::Svid)
        .serve(EvidenceServiceServer::new(requests).max_decoding_message_size(MAX_CHALLENGES))
        .finish(vouching(authority, shutdown));
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
    let services =
        [&[ADMIN, IDENTITY, HEALTH, EVIDENCE, AUTHORIZATION, SECRETS], EVERYWHERE.as_slice()].concat();
    let requests = authority.metrics.requests.clone();
    Observer::new(listener, TraceContext::Joined, Routes::new(&[], &services), requests)
}
