//! The life of the adapter: probes' ports, lease, port, service, drain.

use std::{io, sync::Arc};

use health_gate::{Gate, Holder, HolderConfig, attach::Attachments};
use mtls::Role;
use proto::backend::v1::backend_service_server::SERVICE_NAME as BACKEND;
use service_runtime::{
    Callers, CancellationToken, Clock, Condition, Exit, Incoming, Observer, Ops, Registry, RequestMetrics,
    Server, TaskTracker, ends,
};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};
use tracing::info;

use crate::{
    Config,
    generate::ModelServer,
    metrics::Metrics,
    server::{health_routes, paths, router},
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

    let (reporter, health) = tonic_health::server::health_reporter();
    tracker.spawn(report(reporter, holder.gate(), shutdown.clone()));
    let (gate, stop) = (holder.gate(), shutdown.clone());
    ops.ready_when(health_routes(health.clone()), move || conditions(&gate, &stop));
    info!(identity = %holder.identity(), listen = ?listener.local_addr().ok(), backend = %config.measured.backend.address, "serving");
    let server = server(&config, &holder, health, metrics.requests);
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

fn server(
    config: &Config,
    holder: &Holder,
    health: HealthServer<impl Health>,
    requests: RequestMetrics,
) -> Server {
    let backend = &config.measured.backend;
    let model_server = ModelServer {
        dialect: backend.kind.into(),
        address: backend.address.clone(),
        limits: config.answers,
    };
    Server {
        router: router(Arc::new(model_server), holder.gate(), health),
        tls: Some(holder.mutual_tls()),
        scope: Attachments::new(holder, Role::Gateway).scope(),
        limits: config.connections.clone(),
        // A new trust epoch has new identities: peers connect and attach anew.
        recycle: holder.epoch_changed(),
        observer: Observer::new("mutual", Callers::Own, paths(), requests),
    }
}

/// What `/readyz` asks for. Whether the model server answers is the gateway's question: only its
/// requests may reach it.
fn conditions(gate: &Gate, stop: &CancellationToken) -> Vec<Condition> {
    vec![
        Condition { name: "lease", holds: gate.is_open() },
        Condition { name: "not-stopping", holds: !stop.is_cancelled() },
    ]
}

/// Keeps `grpc.health.v1` in step with the gate, until the stop.
async fn report(reporter: HealthReporter, gate: Gate, stop: CancellationToken) {
    let mut open = gate.watch();
    loop {
        open.mark_unchanged();
        let serving = gate.is_open() && !stop.is_cancelled();
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in ["", BACKEND] {
            reporter.set_service_status(name, status).await;
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = open.changed() => if changed.is_err() { return },
        }
    }
}
