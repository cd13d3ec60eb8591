//! The shipped attestation-svc: AMD's roots, the real device, the machine's clocks.

use std::{process::ExitCode, sync::Arc};

use attestation_svc::{Config, find_device, run};
use service_runtime::{SystemClock, launch};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;

/// A machine has one chain; two while its host updates the firmware, and as many again while certificates are chosen.
const KNOWN_CHAINS: usize = 4;

fn main() -> ExitCode {
    launch(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_DESCRIPTION"), async |config: Config, (), shutdown| {
        let platform = find_device(snp_platform::detect, config.reports.boot, &shutdown).await?;
        let roots = TrustRoots::amd().remembering(KNOWN_CHAINS);
        let listen = config.listen;
        let bind = || TcpListener::bind(listen);
        Ok(run(config, platform, roots, bind, Arc::new(SystemClock), shutdown).await)
    })
}
