//! The life of the adapter: probes' ports, lease, port, service, drain.

use std::{io, sync::Arc};

use grpc_surface::Serving;
use health_gate::{Gate, Holder, HolderConfig, attach::Attachments};
use mtls::Role;
use proto::backend::v1::backend_service_server::SERVICE_NAME as BACKEND;
use service_runtime::{
    CancellationToken, Clock, Condition, Exit, Incoming, Observer, Ops, Registry, RequestMetrics, Server,
    TaskTracker, TraceContext, ends,
};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;
use tracing::info;

use crate::{
    Config,
    generate::ModelServer,
    metrics::Metrics,
    server::{paths, router},
};

/// Serves until `shutdown`. `bind` makes the listener, and is called once, with the first live
/// lease: until then the port does not exist.
pub async fn run<B, F>(
    config: Config,
    roots: TrustRoots,
    bind: B,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Exit
where
    B: FnOnce() -> F,
    F: Future<Output = io::Result<TcpListener>>,
{
    serve(config, roots, bind, clock, shutdown).await.unwrap_or_else(|exit| exit)
}

async fn serve<B, F>(
    config: Config,
    roots: TrustRoots,
    bind: B,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<Exit, Exit>
where
    B: FnOnce() -> F,
    F: Future<Output = io::Result<TcpListener>>,
{
    mtls::install_crypto_provider();
    let (tracker, mut registry) = (TaskTracker::new(), Registry::default());
    let metrics = Metrics::register(&mut registry);
    let ops = Ops::start(&config.observability, registry, &metrics.requests, &tracker).await;
    let ops = ops.map_err(ends(Exit::Config))?;

    let holder = health_gate::start(holder_config(&config, roots, clock), shutdown.clone(), &tracker).await;
    let holder = holder.map_err(|error| ends(error.exit())(error))?;
    metrics.lease.of(&holder);
    let listener =
        bind().await.map_err(|error| format!("listen: {} cannot be bound: {error}", config.listen));
    let listener = listener.map_err(ends(Exit::Config))?;

    let (gate, stop) = (holder.gate(), shutdown.clone());
    ops.ready_when(grpc_surface::health(serving(&holder, &shutdown), &[BACKEND]), move || {
        conditions(&gate, &stop)
    });
    info!(identity = %holder.identity(), listen = ?listener.local_addr().ok(), backend = %config.measured.backend.address, "serving");
    let server = server(&config, &holder, serving(&holder, &shutdown), metrics.requests);
    server.serve(Incoming::Tcp(listener), shutdown).await;
    info!("stopped");
    Ok(Exit::Clean)
}

fn holder_config(config: &Config, roots: TrustRoots, clock: Arc<dyn Clock>) -> HolderConfig {
    HolderConfig {
        role: Role::Adapter,
        run_dir: config.run_dir.clone(),
        measured: config.measured.clone(),
        policy: config.policy.clone(),
        roots,
        listeners: Vec::new(),
        start_timeout: config.start_timeout,
        drain: config.connections.drain,
        clock,
    }
}

fn server(config: &Config, holder: &Holder, serving: Serving, requests: RequestMetrics) -> Server {
    let backend = &config.measured.backend;
    let model_server = ModelServer {
        dialect: backend.kind.into(),
        address: backend.address.clone(),
        limits: config.answers,
    };
    Server {
        router: router(Arc::new(model_server), holder.gate(), serving),
        tls: Some(holder.mutual_tls()),
        scope: Attachments::new(holder, Role::Gateway).scope(),
        limits: config.connections.clone(),
        // A new trust epoch has new identities: peers connect and attach anew.
        recycle: holder.epoch_changed(),
        observer: Observer::new("mutual", TraceContext::Joined, paths(), requests),
    }
}

/// What `grpc.health.v1` says: the lease, until a stop is asked for.
fn serving(holder: &Holder, stop: &CancellationToken) -> Serving {
    let (gate, changes) = (holder.gate(), holder.gate().watch());
    Serving::new(move || gate.is_open(), changes, stop.clone())
}

/// What `/readyz` asks for. Whether the model server answers is the gateway's question: only its
/// requests may reach it.
fn conditions(gate: &Gate, stop: &CancellationToken) -> Vec<Condition> {
    vec![
        Condition { name: "lease", holds: gate.is_open() },
        Condition { name: "not-stopping", holds: !stop.is_cancelled() },
    ]
}
