//! The only public door: gRPC, OpenAI's and Ollama's HTTP interface over attested TLS.
//!
//! `run` is the service's life. Flow of a request: [`server::router`] (the layer stack: request id, gate, body
//! bounds) → `rpc`, `openai` or `ollama` → one of two lanes, each of which asks the [`upstream::Backend`] and watches its
//! answer: `relay`, where the model server speaks the caller's dialect and bytes go on as they are; or `spec`, what every
//! translated request must satisfy, and `chat` → back through the gate, piece by piece. Evidence goes the same way:
//! `evidence` → [`upstream::Evidence`].
//!
//! Failure: the port is bound with the first lease and not before. While the lease has
//! lapsed only health answers. Whatever fails in the middle of an answer ends it such
//! that no client takes it for complete: trailers with a status in gRPC, an error
//! object and a broken body in HTTP. A client that goes away takes the work behind its
//! request with it.

mod body;
mod callers;
mod chat;
mod config;
mod dialect;
mod evidence;
mod front;
mod incoming;
mod json;
mod metrics;
mod ollama;
mod openai;
mod ready;
mod relay;
mod request_id;
mod rpc;
mod run;
pub mod server;
mod spec;
mod streamed;
pub mod upstream;

pub use callers::{Admission, AdmissionLimits, CaFile, Callers, KeyFile, Keys};
pub use chat::{AnswerLimits, ChatMetrics};
pub use config::{Access, Config};
pub use metrics::metrics;
pub use request_id::RequestId;
pub use run::run;
pub use spec::ValidSpec;
