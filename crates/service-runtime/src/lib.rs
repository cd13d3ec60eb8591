//! What every service needs and none should write again: configuration, clock,
//! logs, traces, metrics, exit codes, the accept loop and an orderly end.
//!
//! Flow of a service: [`launch`] → its [`Configuration`] → `run(config, …)` →
//! [`Server::serve`] → [`Exit`]. Clock, listener and shutdown are arguments everywhere, so that tests
//! need neither ports nor sleeps. Nothing reads the environment.

mod accept;
mod clock;
mod config;
mod connection;
mod exit;
pub mod https;
mod lifetime;
mod measured;
mod metrics;
mod observer;
mod ops;
mod process;
mod supervisor;
mod telemetry;
mod unit;

pub use accept::{ConnectionLimits, Incoming, Scope, Server, TlsSource, no_scope};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{
    Absent, Common, ConfigError, Configuration, Key, Observability, Problems, Settings, Traces, config_keys,
    describe_config, load_config, read_config_file,
};
pub use connection::{Connection, EXPORTER_LABEL, ServerTls, TlsFacts, UnixPeer};
pub use exit::Exit;
pub use measured::{Backend, BackendAddress, BackendKind, Identity, MeasuredConfig, Mesh};
pub use metrics::{Buckets, Counter, Gauge, Held, Histogram, Metric, MetricFact, Registry};
pub use observer::{Observer, RequestMetrics, Routes, TraceContext, refused_for};
pub use ops::{Condition, JWKS, Ops, OpsError};
pub use process::{bound, ends, launch, refuse, shutdown_on_signals, to_its_end};
pub use supervisor::serving;
pub use telemetry::{Attribute, describe, propagate};
pub use tokio_util::{sync::CancellationToken, task::TaskTracker};
