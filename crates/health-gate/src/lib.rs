//! The only way to serve: enrolment, lease and gate (docs/spec/lease.md).
//!
//! Flow: [`start`] enrols over the service's own socket, judges the evidence of its issuer, takes
//! a lease and keeps it. The [`Gate`] is open exactly while the lease lives. [`GateLayer`] puts the
//! gate before every request and into every answer's body; [`attach`] extends it to the connection
//! between gateway and adapter.
//!
//! Failure: everything starts shut. Whatever is absent, late or refused leaves the gate shut, and
//! a lease that is not renewed shuts it by itself, on a clock that nobody can set back.
//!
//! A permit comes only from an open gate:
//!
//! ```compile_fail
//! let forged = health_gate::ServingPermit { term: Default::default() };
//! ```
//! ```compile_fail
//! let forged: health_gate::Gate = Default::default();
//! ```

pub mod attach;
mod body;
mod enrol;
mod gate;
mod goaway;
mod h2;
mod holder;
mod layer;
mod lease;
mod metrics;
mod random;
mod session;
mod shown;
mod start_error;
mod term;
mod trust;

pub use body::FLUSH;
pub use enrol::EnrolError;
pub use gate::{Gate, Lapsed, ServingPermit};
pub use holder::{Holder, HolderConfig, Tokens, start};
pub use layer::{GateLayer, Gated};
pub use lease::{Answer, Answered, Grant, HEARTBEAT, Heartbeat, LAPSE, Lease, LeaseError, TOKEN_EVERY};
pub use metrics::LeaseMetrics;
pub use start_error::StartError;
