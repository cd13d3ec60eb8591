//! The built `cube` binary against real evidence, and against gateways that
//! tell the truth, lie, or say nothing.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on should say so at once"
)]

mod audit;
mod azure;
mod chat;
mod client;
#[expect(dead_code, reason = "its own crate's tests do more to it")]
#[path = "../../../collateral/src/tests/fake_kds.rs"]
mod fake_kds;
mod gateway;
mod key;
mod live;
mod measure;
mod migrate;
mod policy;
mod policy_import;
mod protos;
mod proxy;
mod real;
mod shared;
mod stored;
mod token;
mod tool;
mod trust_sync;
mod world;
