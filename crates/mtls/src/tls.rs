//! The TLS configurations: TLS 1.3 only, full handshakes only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use service_runtime::{Clock, Connection, ServerTls};

use crate::caller::CallerTrust;
use crate::identity::{IdentityError, SpiffeId};
use crate::key::ServiceKey;
use crate::material::{MaterialError, Svid};
use crate::verifier::{ExactPeer, SameInstance};

/// Makes AWS-LC the process's provider for code that asks rustls for a default.
/// Cube's own configurations name it themselves.
pub fn install_crypto_provider() {
    // An error means that one is installed already, and no other is in the dependency graph.
    drop(provider().install_default());
}

/// The name to hand to rustls for mutual TLS: an address, which is never sent as SNI.
/// Peers are known by their SPIFFE ID alone.
pub fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into())
}

/// TLS of a public listener: h2 and http/1.1. A client need show no certificate; one that it shows has to be a
/// caller's.
pub fn public_server_tls(
    key: &ServiceKey,
    chain: Vec<CertificateDer<'static>>,
    callers: Option<&CallerTrust>,
) -> Result<ServerTls, rustls::Error> {
    let certified = certified(key, chain);
    let config =
        ServerConfig::builder_with_provider(Arc::new(provider())).with_protocol_versions(&[&TLS13])?;
    let config = match callers {
        Some(callers) => config.with_client_cert_verifier(Arc::new(callers.clone())),
        None => config.with_no_client_auth(),
    };
    let config = config.with_cert_resolver(Arc::new(certified));
    Ok(server_tls(config, &[b"h2", b"http/1.1"], key))
}

/// Who is at the other end of a mutual TLS connection.
pub fn peer_of(connection: &Connection) -> Result<SpiffeId, PeerError> {
    let facts = connection.tls.as_ref().ok_or(PeerError::NoTls)?;
    let leaf = facts.peer_leaf.as_ref().ok_or(PeerError::NoCertificate)?;
    Ok(SpiffeId::from_certificate(leaf)?)
}

pub(crate) fn mutual_server(
    svid: &Svid,
    roots: Arc<RootCertStore>,
    own: &SpiffeId,
    clock: &Arc<dyn Clock>,
) -> Result<ServerTls, MaterialError> {
    let provider = Arc::new(provider());
    let chain = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .clear_root_hint_subjects()
        .build()?;
    let config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(Arc::clone(clock))))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(SameInstance::new(chain, own.clone())))
        .with_cert_resolver(Arc::new(certified(&svid.key, svid.chain.clone())));
    Ok(server_tls(config, &[b"h2"], &svid.key))
}

pub(crate) fn mutual_client(
    svid: &Svid,
    roots: Arc<RootCertStore>,
    peer: SpiffeId,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(provider());
    let verifier = ExactPeer::new(roots, peer, provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(Arc::clone(clock))))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(certified(&svid.key, svid.chain.clone())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

fn server_tls(mut config: ServerConfig, alpn: &[&[u8]], key: &ServiceKey) -> ServerTls {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // A resumed session would carry over an earlier connection's peer; each one proves itself anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    ServerTls { config: Arc::new(config), leaf_spki_sha256: key.spki_sha256() }
}

fn certified(key: &ServiceKey, chain: Vec<CertificateDer<'static>>) -> SingleCertAndKey {
    CertifiedKey::new(chain, Arc::new(key.clone())).into()
}

/// AWS-LC with the post-quantum hybrid first: recorded traffic outlives today's curves.
pub(crate) fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    CryptoProvider { kx_groups: vec![X25519MLKEM768, X25519, SECP256R1], ..aws_lc_rs::default_provider() }
}

/// Certificate dates are judged by the service's clock.
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        time_of(&*self.0)
    }
}

pub(crate) fn time_of(clock: &dyn Clock) -> Option<UnixTime> {
    let seconds = u64::try_from(clock.unix()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

/// Why a connection has no peer identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The connection is not TLS.
    #[error("the connection is not TLS")]
    NoTls,
    /// The peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The certificate names no service of Cube's.
    #[error("the peer's certificate names no service")]
    Identity(#[from] IdentityError),
}
