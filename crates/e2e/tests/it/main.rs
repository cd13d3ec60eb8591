//! The whole chain with real processes: three services on simulated hardware, a
//! scripted model server, and clients outside.
//!
//! Each test has a stack of its own on a loopback address of its own, so that all
//! run side by side on the ordinary ports.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::large_futures, reason = "a test's future lives once")]

mod adapter;
mod admin;
mod callers;
mod canary;
mod cancel;
mod chain;
mod cli;
mod collector;
mod door;
mod identity;
mod model;
mod ready;
mod refusals;
mod rig;
mod samples;
mod stock_clients;
mod supervisor;
mod trust_sync;
