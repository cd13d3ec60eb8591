//! The whole service on a simulated machine: real sockets, real handshakes, real reports.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod admin;
mod audit;
mod boot;
mod collateral;
mod config;
mod enrol;
mod evidence;
#[expect(dead_code, reason = "its own crate's tests do more to it")]
#[path = "../../../crates/collateral/src/tests/fake_kds.rs"]
mod fake_kds;
mod lease;
mod mesh;
mod no_tee;
mod peer;
mod reattest;
mod rotation;
mod surface;
mod world;
