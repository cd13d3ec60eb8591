//! Judges the evidence of the machine that it runs on, and only then becomes the CVM's source of
//! identity and health.
//!
//! Flow: [`run`] → `boot.rs` (evidence → collateral → policy → CA, token key, manifest) →
//! `server.rs` (the layer stack of each listener) → `rpc/` (one file per service).
//!
//! - `run_dir.rs`: one unix socket per identity, and the administrator's.
//! - `enrolment.rs`: the single holder of an identity. `roster.rs`: who holds what and which tokens
//!   are void, as a pure state machine.
//! - `ca.rs`: certificates. `mint.rs`: health tokens; no other code mints. `manifest.rs`: the list of
//!   keys that reports vouch for. `prover.rs`: the one way to the secure processor.
//! - `refusals.rs`: what the log says of refused evidence calls.
//!
//! Failure: what cannot be verified ends the process with the exit code of its class, before any
//! key exists or any socket is open. After that, a failing secure processor fails the call that
//! needed it and nothing else. All keys live in memory: a restart is a new trust epoch, and
//! holders find their way to it by themselves.
#![forbid(unsafe_code)]

mod authority;
mod boot;
mod ca;
mod config;
mod enrolment;
mod error;
mod manifest;
mod metrics;
mod mint;
mod prover;
mod refusals;
mod roster;
mod rpc;
mod run_dir;
mod server;

use std::sync::Arc;

use service_runtime::{CancellationToken, Clock, Exit, Ops, Registry, TaskTracker, ends};
use snp_evidence::TrustRoots;
use snp_platform::Platform;
use tokio::net::TcpListener;
use tracing::info;

use crate::metrics::Metrics;

pub use config::Config;
pub use metrics::metrics;
pub use prover::ReportLimits;
pub use service_runtime::ConfigError;

/// Runs the service until `shutdown`, or until it is refused.
///
/// `listener` carries mutual TLS for the gateway's evidence requests. The unix sockets are made in
/// the config's run directory once the evidence has been accepted.
pub async fn run(
    config: Config,
    platform: Box<dyn Platform>,
    roots: TrustRoots,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Exit {
    let tracker = TaskTracker::new();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ops = match Ops::start(&config.observability, registry, &metrics.requests, &tracker).await {
        Ok(ops) => ops,
        Err(error) => return ends(Exit::Config)(error),
    };
    let boot = boot::boot(&config, platform, &roots, clock, metrics.clone());
    let booted = tokio::select! {
        booted = boot => booted,
        () = shutdown.cancelled() => return Exit::Clean,
    };
    let sockets =
        booted.and_then(|authority| Ok((run_dir::open(&config.run_dir, &authority.identities)?, authority)));
    match sockets {
        Ok((sockets, authority)) => {
            let authority = Arc::new(authority);
            metrics.of(&authority);
            info!(instance = authority.ca.instance(), "evidence accepted; identities can be enrolled");
            server::tell_readiness(&ops, &shutdown);
            server::serve(sockets, listener, authority, config.connections, shutdown).await;
            Exit::Clean
        }
        Err(refused) => {
            error::log(&refused);
            refused.exit()
        }
    }
}
