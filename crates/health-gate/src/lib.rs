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
//! ```compile_fail,E0451
//! let forged = health_gate::ServingPermit { term: Default::default() };
//! ```
//! ```compile_fail,E0277
//! let forged: health_gate::Gate = Default::default();
//! ```
//!
//! and one for a backend only from both sides' tokens, with the own lease that they were shown under:
//!
//! ```compile_fail,E0451
//! use health_gate::{ServingPermit, attach::AttachedPermit};
//! fn forge(own: ServingPermit, other: AttachedPermit) -> AttachedPermit {
//!     AttachedPermit { own, ..other }
//! }
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
pub use lease::LeaseError;
pub use metrics::LeaseMetrics;
pub use start_error::StartError;
