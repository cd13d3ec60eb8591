//! The whole service on a simulated machine: real sockets, real handshakes, real reports.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod admin;
mod boot;
mod config;
mod enrol;
mod evidence;
mod lease;
mod no_tee;
mod peer;
mod surface;
mod world;
