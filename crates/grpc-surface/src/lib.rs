//! What every gRPC listener has in common: who may call what, health, reflection.
//!
//! Flow: a service's `server.rs` says how its listener knows callers ([`Callers`]) and hands its
//! implementations to [`Surface::serve`]; [`Surface::finish`] adds health and reflection and puts the
//! guard before all of them, which consults `proto::access` and nothing else. What is served, what is
//! listed and what may be called are one list, so none of them can be out of step.
//!
//! Failure: a caller that is not known, or that the table does not name, is refused before its body is
//! read. A method without an entry in the table is refused like one that does not exist, and logged as a
//! defect when the listener starts.
#![forbid(unsafe_code)]

mod guard;
mod health;
mod reflection;
mod surface;

pub use guard::{Callers, Methods, unknown_method};
pub use health::Serving;
pub use surface::{EVERYWHERE, Surface, health};
