//! The only process that reaches the model server.
//!
//! Flow of a request: `server` lays out the layers → `rpc` authorises the call and takes the
//! connection's permit → [`backend`] turns the request into the model server's dialect →
//! `http` sends it over a connection that `dial` makes only for a permit holder → [`decode`]
//! cuts the answer into frames and [`backend`] turns them into events.
//!
//! Every failure is a status with a stable reason, in mid-stream too: a model server that stalls,
//! lies or dies never looks like one that finished. When the caller goes away, or the lease or the
//! attachment of its connection lapses, the connection to the model server is closed, which stops
//! the generation.

pub mod backend;
mod config;
pub mod decode;
mod dial;
pub mod error;
mod generate;
mod http;
mod metrics;
mod permit;
mod rpc;
mod run;
mod server;
mod wire;

pub use config::Config;
pub use generate::Limits;
pub use metrics::metrics;
pub use run::run;
