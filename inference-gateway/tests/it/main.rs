//! The public listener over real TLS, behind a gate that a real attestation-svc on a
//! simulated machine opened; only the adapter is scripted.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails is a test that fails"
)]

mod callers;
mod client;
mod evidence;
mod fake;
mod grpc;
mod health;
mod lapse;
mod ollama;
mod openai;
mod reflection;
mod relay;
mod run;
mod typed;
mod workloads;
mod world;
