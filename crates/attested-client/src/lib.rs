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
//! ```
//! # use proto::inference::v1::{ListModelsRequest, model_service_client::ModelServiceClient};
//! # async fn f(channel: attested_client::AttestedChannel) {
//! // Generated clients run on a channel …
//! let mut client = ModelServiceClient::new(channel);
//! # let _ = client.list_models(ListModelsRequest::default()).await;
//! # }
//! ```
//! ```compile_fail,E0277
//! # use proto::inference::v1::{ListModelsRequest, model_service_client::ModelServiceClient};
//! # async fn f(offer: attested_client::Offer) {
//! // … but not on a connection that was not judged.
//! let mut client = ModelServiceClient::new(offer);
//! # }
//! ```
//!
//! ```compile_fail,E0451
//! // And a channel cannot be put together by hand.
//! # use {attested_client::AttestedChannel, snp_evidence::VerifiedBundle, std::sync::Arc};
//! fn forge(verified: Arc<VerifiedBundle>, other: AttestedChannel) -> AttestedChannel {
//!     AttestedChannel { verified, ..other }
//! }
//! ```
//!
//! The channel is the connection: where it breaks, calls fail. [`AttestedClient`] keeps a few of them, makes
//! another by the same steps where one is gone, and verifies each again every ten minutes.

mod channel;
mod client;
mod error;
mod offer;
mod target;
mod tls;
mod unattested;

pub use channel::{AttestedChannel, ChannelError};
pub use client::{AttestedClient, ClientError, Demands, Placed};
pub use error::Error;
pub use offer::{Binding, Offer};
pub use target::{InvalidTarget, Target};
pub use tls::{ServerTrust, ServerTrustError};
pub use unattested::{Limits, Unattested, fresh_nonce};
