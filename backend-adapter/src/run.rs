//! The life of the adapter: probes' ports, lease, port, service, drain.

use std::{io, sync::Arc};

use grpc_surface::Serving;
use health_gate::{Holder, HolderConfig, StartError, attach::Attachments};
use mtls::Role;
use service_runtime::{
    CancellationToken, Clock, Exit, Incoming, Observer, Ops, Registry, RequestMetrics, Server, TaskTracker,
    TraceContext, bound, ends, to_its_end,
};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;
use tracing::info;

use crate::{
    Config,
    dial::Endpoint,
    metrics::Metrics,
    model_server::ModelServer,
    server::{conditions, health, paths, router, serving},
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
    to_its_end(|tracker| async move { serve(config, roots, bind, clock, shutdown, &tracker).await }).await
}

async fn serve<B, F>(
    config: Config,
    roots: TrustRoots,
    bind: B,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
    tracker: &TaskTracker,
) -> Result<Exit, Exit>
where
    B: FnOnce() -> F,
    F: Future<Output = io::Result<TcpListener>>,
{
    mtls::install_crypto_provider();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ops = Ops::start(&config.observability, registry, &metrics.requests, tracker).await;
    let ops = ops.map_err(ends(Exit::Config))?;

    let holder = health_gate::start(holder_config(&config, roots, clock), shutdown.clone(), tracker).await;
    let holder = match holder {
        Ok(holder) => holder,
        Err(StartError::Stopped) => return Ok(Exit::Clean),
        Err(error) => return Err(ends(error.exit())(error)),
    };
    metrics.lease.of(&holder);
    let listener = bound(bind, config.listen).await?;

    let (gate, stop) = (holder.gate(), shutdown.clone());
    ops.ready_when(health(serving(&holder, &shutdown)), move || conditions(&gate, &stop));
    service_runtime::serving();
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
        callers: None,
        start_timeout: config.start_timeout,
        drain: config.connections.drain,
        clock,
    }
}

fn server(config: &Config, holder: &Holder, serving: Serving, requests: RequestMetrics) -> Server {
    let backend = &config.measured.backend;
    let endpoint = Endpoint { address: backend.address.clone(), uid: backend.uid };
    let model_server = ModelServer::new(backend.kind.into(), endpoint, config.answers);
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
