//! What every service needs and none should write again: configuration, clock,
//! logs, exit codes, the accept loop and an orderly end.
//!
//! Flow of a service: [`launch`] → its [`Configuration`] → `run(config, …)` →
//! [`Server::serve`] → [`Exit`]. Clock, listener and shutdown are arguments everywhere, so that tests
//! need neither ports nor sleeps. Only this crate reads the environment.

mod accept;
mod clock;
mod config;
mod connection;
mod exit;
mod lifetime;
mod measured;
mod process;

pub use accept::{Incoming, Limits, Scope, Server, TlsSource, no_scope};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{Common, ConfigError, Configuration, Problems, Settings, describe_config, load_config};
pub use connection::{Connection, EXPORTER_LABEL, ServerTls, TlsFacts, UnixPeer};
pub use exit::Exit;
pub use measured::{Backend, BackendAddress, BackendKind, Identity, MeasuredConfig};
pub use process::{block_on, ends, harden, init_logs, launch, refuse, shutdown_on_signals};
pub use tokio_util::{sync::CancellationToken, task::TaskTracker};
