//! The life of the adapter: lease, port, service, drain.

use std::{io, sync::Arc};

use health_gate::{Gate, Holder, HolderConfig, attach::Attachments};
use mtls::Role;
use proto::backend::v1::backend_service_server::SERVICE_NAME as BACKEND;
use service_runtime::{CancellationToken, Clock, Exit, Incoming, Server, TaskTracker};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{error, info};

use crate::{Config, generate::ModelServer, server::router};

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
    mtls::install_crypto_provider();
    let tracker = TaskTracker::new();
    let holder =
        match health_gate::start(holder_config(&config, roots, clock), shutdown.clone(), &tracker).await {
            Ok(holder) => holder,
            Err(error) => {
                error!(%error, "no lease; not serving");
                return error.exit();
            }
        };
    let listener = match bind().await {
        Ok(listener) => listener,
        Err(error) => {
            error!(%error, listen = %config.listen, "the port cannot be bound");
            return Exit::Config;
        }
    };
    info!(identity = %holder.identity(), listen = ?listener.local_addr().ok(), backend = %config.measured.backend.address, "serving");
    let server = server(&config, &holder, &shutdown, &tracker);
    server.serve(Incoming::Tcp(listener), shutdown).await;
    info!("stopped");
    Exit::Clean
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
        clock,
    }
}

fn server(config: &Config, holder: &Holder, stop: &CancellationToken, tracker: &TaskTracker) -> Server {
    let backend = &config.measured.backend;
    let model_server = ModelServer {
        dialect: backend.kind.into(),
        address: backend.address.clone(),
        limits: config.silence,
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    tracker.spawn(report(reporter, holder.gate(), stop.clone()));
    Server {
        router: router(Arc::new(model_server), holder.gate(), health),
        tls: Some(holder.mutual_tls()),
        scope: Attachments::new(holder, Role::Gateway).scope(),
        limits: config.connections.clone(),
        // A new trust epoch has new identities: peers connect and attach anew.
        recycle: holder.epoch_changed(),
    }
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
