//! The only process that reaches the model server.
//!
//! `run` is the service's life. Flow of a request: `server` lays out the layers (gate, guard) →
//! `rpc` takes the connection's permit → `wire` checks the request → `backend` puts it into the
//! model server's dialect, or `relay` finds the endpoint that it is for → `model_server` holds the limits → `http` sends
//! it over a `line` that `dial` makes only for a permit holder → `decode` cuts the answer into frames and `backend`
//! turns them into events, or `relay` watches them go by.
//!
//! Every failure is a status with a stable reason, in mid-stream too: a model server that stalls,
//! lies or dies never looks like one that finished. When the caller goes away, or the lease or the
//! attachment of its connection lapses, the connection to the model server is closed, which stops
//! the generation.

mod backend;
mod config;
mod decode;
mod dial;
mod error;
mod http;
mod line;
mod metrics;
mod model_server;
mod owner;
mod permit;
mod relay;
mod rpc;
mod run;
mod server;
mod wire;

pub use backend::known_extensions;
pub use config::Config;
pub use metrics::metrics;
pub use model_server::AnswerLimits;
pub use owner::listener_uid;
pub use relay::passed_on;
pub use run::run;
