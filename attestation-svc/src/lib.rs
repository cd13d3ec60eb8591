//! Judges the evidence of the machine that it runs on, and only then becomes the CVM's source of
//! identity and health.
//!
//! Flow: `run.rs` (the service's life) → `boot.rs` (evidence → collateral → policy → CA, token key, manifest) →
//! `server.rs` (the layer stack of each listener) → `rpc/` (one file per service).
//!
//! - `run_dir.rs`: one unix socket per identity, the mesh's, and the administrator's.
//! - `judge.rs`: what attestation-svc makes of its own machine. `standing.rs`: what those verdicts come to, as a pure state
//!   machine. `reattest.rs`, `clock_watch.rs`: when it is judged anew, and what closes.
//! - `enrolment.rs`: the single holder of an identity. `roster.rs`: who holds what and which tokens
//!   are void, as a pure state machine.
//! - `keys.rs`: the keys that sign, and their replacement while everything goes on; `rotation.rs`: its rules, as a pure state
//!   machine. `jwks.rs`: the token keys for meshes.
//! - `ca.rs`: certificates. `mint.rs`: health tokens; no other code mints. `manifest.rs`: the list of
//!   keys that reports vouch for. `device.rs`, `prover.rs`: the one way to the secure processor.
//! - `mesh.rs`: workloads of others behind a proxy in this CVM.
//! - crate `collateral`: AMD's certificates for each report, and the revocation list, kept fresh.
//! - `audit.rs`: what goes into the audit log, and what is only counted there.
//! - `reporters.rs`: whether somebody else on this machine can obtain reports.
//! - `refusals.rs`: what the log says of refused evidence calls.
//!
//! Failure: what cannot be verified ends the process with the exit code of its class, before any
//! key exists or any socket is open. After that, a failing secure processor fails the call that
//! needed it and nothing else; without audit log nothing is granted. All keys live in memory: a restart is a new trust epoch, and
//! holders find their way to it by themselves.
#![forbid(unsafe_code)]

mod audit;
mod authority;
mod batch;
mod boot;
mod ca;
mod clock_watch;
mod config;
mod device;
mod enrolment;
mod error;
mod judge;
mod jwks;
mod keys;
mod manifest;
mod mesh;
mod metrics;
mod mint;
mod prover;
mod reattest;
mod refusals;
mod reporters;
mod roster;
mod rotation;
mod rpc;
mod run;
mod run_dir;
mod server;
mod standing;

pub use config::{AuditConfig, Config};
pub use device::find_device;
pub use metrics::metrics;
pub use prover::ReportLimits;
pub use run::run;
pub use service_runtime::ConfigError;
