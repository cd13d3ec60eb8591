//! `attestation-svc` on simulated hardware: the shipped library, the simulator's chip and root.

use std::{process::ExitCode, sync::Arc};

use attestation_svc::{Config, run};
use dev_stack::{MachineArgs, SimulatedPlatform, load_roots};
use service_runtime::{Exit, SystemClock, ends, launch};
use tokio::net::TcpListener;

fn main() -> ExitCode {
    let about = "attestation-svc on simulated hardware";
    launch("attestation-svc", about, async |config: Config, args: MachineArgs, shutdown| {
        let roots = load_roots(&args.root).map_err(ends(Exit::Config))?;
        let platform = SimulatedPlatform::load(&args.machine, &args.guest);
        let platform = Box::new(platform.map_err(|error| format!("{error:#}")).map_err(ends(Exit::Config))?);
        let listen = config.listen;
        let bind = || TcpListener::bind(listen);
        Ok(run(config, platform, roots, bind, Arc::new(SystemClock), shutdown).await)
    })
}
