//! The life of the gateway: probes' ports, lease, public port, service, drain.

use std::{io, sync::Arc};

use aws_lc_rs::hmac;
use health_gate::{Holder, HolderConfig, StartError, attach::AttachedChannel};
use mtls::{CallerTrust, Role};
use service_runtime::{
    CancellationToken, Clock, Exit, Incoming, Observer, Ops, Registry, RequestMetrics, Server, TaskTracker,
    TraceContext, bound, ends, to_its_end,
};
use snp_evidence::{PUBLIC_LISTENER, TrustRoots};
use tokio::{net::TcpListener, sync::watch};
use tracing::info;

use crate::{
    Access, Admission, Callers, ChatMetrics, Config,
    callers::salts,
    metrics::Metrics,
    ready,
    server::{Gateway, health, paths, router, scope},
    upstream::{Adapter, AttestationSvc, MutualChannel},
};

/// Serves until `shutdown`. `bind` makes the public listener, and is called once, with
/// the first live lease: until then the port does not exist.
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

    let mut holder_config = holder_config(&config, roots, clock.clone());
    holder_config.callers = certificates(&config, clock.clone(), &shutdown, tracker);
    let holder = health_gate::start(holder_config, shutdown.clone(), tracker).await;
    let holder = match holder {
        Ok(holder) => holder,
        Err(StartError::Stopped) => return Ok(Exit::Clean),
        Err(error) => return Err(ends(error.exit())(error)),
    };
    metrics.lease.of(&holder);
    let listener = bound(bind, config.listen).await?;

    let salts = salts().map_err(|_| ends(Exit::Config)("no random bytes could be had"))?;
    let gateway = gateway(&config, &holder, clock, &shutdown, tracker, metrics.chat, salts);
    tell_readiness(&ops, &config, &gateway, tracker);
    service_runtime::serving();
    info!(identity = %holder.identity(), listen = ?listener.local_addr().ok(), "serving");
    server(&config, &holder, gateway, metrics.requests).serve(Incoming::Tcp(listener), shutdown).await;
    info!("stopped");
    Ok(Exit::Clean)
}

fn holder_config(config: &Config, roots: TrustRoots, clock: Arc<dyn Clock>) -> HolderConfig {
    HolderConfig {
        role: Role::Gateway,
        run_dir: config.run_dir.clone(),
        measured: config.measured.clone(),
        policy: config.policy.clone(),
        roots,
        listeners: vec![PUBLIC_LISTENER.to_owned()],
        callers: None,
        start_timeout: config.start_timeout,
        drain: config.connections.drain,
        clock,
    }
}

fn gateway(
    config: &Config,
    holder: &Holder,
    clock: Arc<dyn Clock>,
    shutdown: &CancellationToken,
    tracker: &TaskTracker,
    metrics: ChatMetrics,
    salts: hmac::Key,
) -> Gateway {
    let attached = AttachedChannel::connect(config.adapter, holder, Role::Adapter);
    let attestation =
        MutualChannel::new(config.attestation_svc, Role::Attestation, holder.material(), tracker.clone());
    Gateway {
        backend: Arc::new(Adapter::new(attached, config.answers.frame)),
        kind: config.measured.backend.kind,
        strict: config.strict,
        callers: callers(config, shutdown, tracker),
        admission: Admission::new(config.admission),
        salts,
        evidence: Arc::new(AttestationSvc::new(attestation, tracker)),
        gate: holder.gate(),
        clock,
        limits: config.answers.clone(),
        // Health says NOT_SERVING as soon as a stop is asked for; the drain comes after.
        draining: shutdown.clone(),
        metrics,
    }
}

fn callers(config: &Config, stop: &CancellationToken, tracker: &TaskTracker) -> Callers {
    match &config.access {
        Access::Anonymous => Callers::Anonymous,
        Access::Listed(file, _) => Callers::Keys(file.clone().follow(stop.clone(), tracker)),
    }
}

/// Whose certificates the public listener takes.
fn certificates(
    config: &Config,
    clock: Arc<dyn Clock>,
    stop: &CancellationToken,
    tracker: &TaskTracker,
) -> Option<CallerTrust> {
    let Access::Listed(_, cas) = &config.access else { return None };
    Some(cas.as_ref()?.follow(clock, stop.clone(), tracker))
}

/// The backend is asked only where somebody asks for readiness.
fn tell_readiness(ops: &Ops, config: &Config, gateway: &Gateway, tracker: &TaskTracker) {
    if config.observability.health.is_none() {
        return;
    }
    let (told, up) = watch::channel(false);
    tracker.spawn(ready::probe(gateway.clone(), told));
    let asked = gateway.clone();
    ops.ready_when(health(gateway), move || ready::conditions(&asked, &up));
}

fn server(config: &Config, holder: &Holder, gateway: Gateway, requests: RequestMetrics) -> Server {
    Server {
        router: router(gateway),
        tls: Some(holder.listener_tls(PUBLIC_LISTENER)),
        scope: scope(),
        limits: config.connections.clone(),
        // A new trust epoch has a new certificate and a new key manifest: clients verify anew.
        recycle: holder.epoch_changed(),
        observer: Observer::new("public", TraceContext::Linked, paths(), requests),
    }
}
