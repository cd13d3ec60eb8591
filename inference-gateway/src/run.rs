//! The life of the gateway: lease, port, service, drain.

use std::{io, sync::Arc};

use health_gate::{Holder, HolderConfig, attach::AttachedChannel};
use mtls::Role;
use service_runtime::{CancellationToken, Clock, Exit, Incoming, Server, TaskTracker, no_scope};
use snp_evidence::{PUBLIC_LISTENER, TrustRoots};
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::{
    Config,
    server::{Gateway, router},
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
    mtls::install_crypto_provider();
    let tracker = TaskTracker::new();
    let holder_config = holder_config(&config, roots, clock.clone());
    let holder = match health_gate::start(holder_config, shutdown.clone(), &tracker).await {
        Ok(holder) => holder,
        Err(error) => {
            error!(%error, "no lease; not serving");
            return error.exit();
        }
    };
    let listener = match bind().await {
        Ok(listener) => listener,
        Err(error) => {
            error!(%error, listen = %config.listen, "the public port cannot be bound");
            return Exit::Config;
        }
    };
    info!(identity = %holder.identity(), listen = ?listener.local_addr().ok(), "serving");
    server(&config, &holder, clock, &shutdown, &tracker).serve(Incoming::Tcp(listener), shutdown).await;
    info!("stopped");
    Exit::Clean
}

fn holder_config(config: &Config, roots: TrustRoots, clock: Arc<dyn Clock>) -> HolderConfig {
    HolderConfig {
        role: Role::Gateway,
        run_dir: config.run_dir.clone(),
        measured: config.measured.clone(),
        policy: config.policy.clone(),
        roots,
        listeners: vec![PUBLIC_LISTENER.to_owned()],
        start_timeout: config.start_timeout,
        clock,
    }
}

fn server(
    config: &Config,
    holder: &Holder,
    clock: Arc<dyn Clock>,
    shutdown: &CancellationToken,
    tracker: &TaskTracker,
) -> Server {
    let attached = AttachedChannel::connect(config.adapter, holder, Role::Adapter);
    let attestation =
        MutualChannel::new(config.attestation_svc, Role::Attestation, holder.material(), tracker.clone());
    let gateway = Gateway {
        backend: Arc::new(Adapter::new(attached, config.answers.frame)),
        evidence: Arc::new(AttestationSvc::new(attestation)),
        gate: holder.gate(),
        clock,
        limits: config.answers.clone(),
        // Health says NOT_SERVING as soon as a stop is asked for; the drain comes after.
        draining: shutdown.clone(),
    };
    Server {
        router: router(gateway),
        tls: Some(holder.listener_tls(PUBLIC_LISTENER)),
        scope: no_scope(),
        limits: config.connections.clone(),
        // A new trust epoch has a new certificate and a new key manifest: clients verify anew.
        recycle: holder.epoch_changed(),
    }
}
