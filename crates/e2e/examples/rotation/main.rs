//! Rotations and sudden deaths under load: `cargo xtask conformance rotation`.
//!
//! First 1,000 streams are open while certificates, CA and token key are replaced 20 times each: all end well. Then each
//! service is killed 20 times. Both sides write down when what happened, on `CLOCK_BOOTTIME`; afterwards this is held
//! against the audit log: nothing was answered that no lease can have covered. Each case is one line of JSON on stdout,
//! figures go to stderr.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a driver fails by panicking, and talks on stderr"
)]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/rig.rs"]
mod rig;

mod deaths;
mod load;
mod model_server;
mod rotate;

use e2e::{conformance::Run, fake_backend::FakeBackend};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{model_server::ModelServer, rig::Rig};

const RUN: Run = Run("rotation");

#[tokio::main]
async fn main() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let server = ModelServer::start().await.unwrap();
    let scripted = FakeBackend::start().await.unwrap();
    let mut rig = Rig::facing("openai", scripted, server.address);
    rig.blocking(|rig| rig.stack.start_all(rig::PATIENCE)).unwrap();
    rotate::run(&mut rig, &server).await;
    deaths::run(&mut rig, &server).await;
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
