//! The files of `deploy/mesh/envoy` in a real Envoy: `cargo xtask conformance envoy`.
//!
//! Argument: the Envoy. Inside: a gRPC service of somebody else's behind an Envoy of the CVM. Outside: the gateways of two CVMs
//! behind an Envoy that passes TLS through. Streams of six minutes go through both meanwhile. Each case is one line of JSON
//! on stdout.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a driver fails by panicking")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/rig.rs"]
mod rig;

mod inside;
mod outside;
mod peer;
mod proxy;
mod workload;

use std::{path::PathBuf, time::Duration};

use e2e::conformance::Run;

const RUN: Run = Run("envoy");
/// How long a stream has to live.
const LONG: Duration = Duration::from_mins(6);

#[tokio::main]
async fn main() {
    let envoy = PathBuf::from(std::env::args().nth(1).unwrap());
    mtls::install_crypto_provider();
    tokio::join!(inside::run(&envoy), outside::run(&envoy));
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
