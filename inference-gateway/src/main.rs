//! The shipped inference-gateway: AMD's roots, the machine's clocks.

use std::{process::ExitCode, sync::Arc};

use inference_gateway::{Config, run};
use service_runtime::{SystemClock, launch};
use snp_evidence::TrustRoots;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    launch(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_DESCRIPTION"), async |config: Config, (), shutdown| {
        let listen = config.listen;
        let bind = || TcpListener::bind(listen);
        Ok(run(config, TrustRoots::amd(), bind, Arc::new(SystemClock), shutdown).await)
    })
}
