//! SPIFFE identities and the TLS between Cube's own services.
//!
//! A service makes a [`ServiceKey`], gets an [`Svid`] for it at enrolment and puts both, with the
//! trust bundle, into its [`Material`]. From then on [`Material::server_tls`] and
//! [`Material::client_config`] give configurations for new connections: TLS 1.3 only, mutual, no
//! resumption, peers of the same instance of the same CVM only. Before that there is no
//! configuration, so nothing can connect.
//!
//! What the certificate of a peer allows it to call is decided per RPC, from [`peer_of`]: a wrong
//! role gets a clear status instead of a failed handshake.
//!
//! Callers from outside may show X.509-SVIDs of a trust domain of their own: [`CallerTrust`], [`CallerCertificate`].
#![forbid(unsafe_code)]

mod caller;
mod certificate;
mod identity;
mod key;
mod material;
mod tls;
mod verifier;

pub use caller::{CallerCas, CallerCertificate, CallerError, CallerId, CallerTrust};
pub use certificate::{CertificateRequest, CsrError, pem, serial_of, spki_of};
pub use identity::{IdentityError, Role, SpiffeId};
pub use key::{KeyError, ServiceKey};
pub use material::{Material, MaterialError, Svid};
pub use tls::{PeerError, install_crypto_provider, no_name, peer_of, public_server_tls};
