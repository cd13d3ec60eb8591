//! A client that sends no request before the connection it would travel on is
//! proven to end inside the confidential VM that the policy describes.
//!
//! ```text
//! Unattested::dial ─► ask ─► Offer::appraise ─► AttestedChannel
//!  TLS 1.3, own      own      snp-evidence:      tower service over
//!  exporter          nonce    own nonce, own     exactly this connection
//!                             exporter, own SPKI
//! ```
//!
//! Every step consumes the one before, and only the last value can send. What
//! fails leaves nothing behind that could be used by mistake:
//!
//! ```compile_fail
//! # async fn f(offer: attested_client::Offer) {
//! // A connection that was not judged is no channel.
//! let client = proto::inference::v1::inference_service_client::InferenceServiceClient::new(offer);
//! # let _ = client.chat(proto::inference::v1::ChatRequest::default()).await;
//! # }
//! ```
//!
//! ```compile_fail,E0451
//! // Nor can a channel be put together by hand.
//! fn forge(verified: std::sync::Arc<snp_evidence::VerifiedBundle>) -> attested_client::AttestedChannel {
//!     attested_client::AttestedChannel { verified, sender: todo!(), authority: todo!() }
//! }
//! ```
//!
//! The channel is the connection: where it breaks, calls fail, and the caller
//! dials and appraises anew. There is no pool and no silent reconnect.

mod channel;
mod error;
mod offer;
mod target;
mod tls;
mod unattested;

pub use channel::{AttestedChannel, ChannelError};
pub use error::Error;
pub use offer::{Binding, Offer};
pub use target::{InvalidTarget, Target};
pub use tls::{ServerTrust, ServerTrustError};
pub use unattested::{Limits, Unattested, fresh_nonce};
