//! `inference-gateway` on simulated hardware: the shipped library, the simulator's root.

use std::{process::ExitCode, sync::Arc};

use dev_stack::{RootArgs, load_roots};
use inference_gateway::{Config, run};
use service_runtime::{Exit, SystemClock, ends, launch};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    launch(
        "inference-gateway",
        "inference-gateway on simulated hardware",
        async |config: Config, args: RootArgs, shutdown| {
            let roots = load_roots(&args).map_err(ends(Exit::Config))?;
            let listen = config.listen;
            let bind = || TcpListener::bind(listen);
            Ok(run(config, roots, bind, Arc::new(SystemClock), shutdown).await)
        },
    )
}
