//! The life of attestation-svc: probes' ports, evidence, sockets, port, service, drain.

use std::io;
use std::sync::Arc;

use collateral::Keeper;
use mtls::Role;
use service_runtime::{CancellationToken, Clock, Exit, Ops, Registry, TaskTracker, bound, ends, to_its_end};
use snp_evidence::TrustRoots;
use snp_platform::Platform;
use tokio::net::TcpListener;
use tracing::info;

use crate::audit::Audit;
use crate::boot::boot;
use crate::clock_watch::ClockWatch;
use crate::config::Config;
use crate::error::{BootError, log};
use crate::metrics::Metrics;
use crate::{run_dir, server};

/// Runs the service until `shutdown`, or until it is refused.
///
/// `bind` makes the listener that carries mutual TLS for the gateway's evidence requests. It is
/// called once, when the evidence has been accepted and the unix sockets are there: until then
/// nothing is open but the ports of probes.
pub async fn run<B, F>(
    config: Config,
    platform: Box<dyn Platform>,
    roots: TrustRoots,
    bind: B,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Exit
where
    B: FnOnce() -> F,
    F: Future<Output = io::Result<TcpListener>>,
{
    to_its_end(|tracker| async move { serve(config, platform, roots, bind, clock, shutdown, &tracker).await })
        .await
}

async fn serve<B, F>(
    config: Config,
    platform: Box<dyn Platform>,
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
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ops = Ops::start(&config.observability, registry, &metrics.requests, tracker).await;
    let ops = ops.map_err(ends(Exit::Config))?;
    let (required, counted) = (config.policy.requires_crl(), metrics.collateral.clone());
    let collateral =
        Keeper::new(config.collateral.clone(), required, roots.clone(), Arc::clone(&clock), counted);
    let collateral = Arc::new(collateral.map_err(ends(Exit::Config))?);

    let audit = tokio::select! {
        opened = Audit::open(&config, Arc::clone(&clock), metrics.unrecorded.clone()) => opened.map_err(|error| refused(&error))?,
        () = shutdown.cancelled() => return Ok(Exit::Clean),
    };
    let audit = Arc::new(audit);
    let clocks = ClockWatch::new(Arc::clone(&clock));
    let (keeper, log) = (Arc::clone(&collateral), Arc::clone(&audit));
    let boot = boot(&config, platform, keeper, &roots, clock, metrics.clone(), log);
    let authority = tokio::select! {
        booted = boot => booted.map_err(|error| refused(&error))?,
        () = shutdown.cancelled() => {
            audit.stopped(Exit::Clean).await;
            return Ok(Exit::Clean);
        }
    };
    let authority = Arc::new(authority);
    metrics.of(&authority);
    let mesh = config.measured.mesh.as_ref().map(|mesh| mesh.uid);
    let sockets = run_dir::open(&config.run_dir, &authority.identities, mesh);
    let sockets = sockets.map_err(|error| refused(&error.into()))?;
    let listener = bound(bind, config.listen).await?;

    info!(
        instance = authority.identity(Role::Attestation).instance(),
        "evidence accepted; identities can be enrolled"
    );
    service_runtime::serving();
    server::tell_readiness(&ops, &authority, &shutdown);
    let fresh = collateral.watch(shutdown.clone());
    let serving =
        server::serve(sockets, listener, Arc::clone(&authority), config.connections, shutdown.clone());
    tokio::join!(
        serving,
        fresh,
        authority.keep_judging(clocks, &shutdown),
        authority.keep_rotating(&shutdown)
    );
    audit.stopped(Exit::Clean).await;
    info!("stopped");
    Ok(Exit::Clean)
}

fn refused(error: &BootError) -> Exit {
    log(error);
    error.exit()
}
