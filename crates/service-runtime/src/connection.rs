//! What is known of a connection, before any request on it is read.

use std::{fmt, sync::Arc};

use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::CertificateDer;

/// Label of the channel binding, RFC 9266 section 4.2; its context is empty.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A TLS configuration together with the key that it shows.
#[derive(Clone)]
pub struct ServerTls {
    /// One fixed certificate, so that what a connection was shown stays known.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of that certificate's SubjectPublicKeyInfo in DER.
    pub leaf_spki_sha256: [u8; 32],
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// One accepted connection. Every request on it carries `Arc<Connection>` in its extensions.
#[derive(Debug)]
pub struct Connection {
    /// Counts the connections of the process.
    pub id: u64,
    /// What the handshake settled; `None` without TLS.
    pub tls: Option<TlsFacts>,
    /// Who is at the other end of a unix socket, as the kernel says (SO_PEERCRED).
    pub unix_peer: Option<UnixPeer>,
}

/// What a TLS handshake settled.
#[derive(Clone)]
pub struct TlsFacts {
    /// RFC 9266 `tls-exporter` value of this connection.
    pub exporter: [u8; 32],
    /// SHA-256 of the SPKI that this side showed.
    pub leaf_spki_sha256: [u8; 32],
    /// The certificate that the peer showed, verified; `None` where none was asked for.
    pub peer_leaf: Option<CertificateDer<'static>>,
    /// Whether ALPN settled on HTTP/2.
    pub http2: bool,
}

impl fmt::Debug for TlsFacts {
    // The exporter is a secret of the connection until its evidence is made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFacts").field("http2", &self.http2).finish_non_exhaustive()
    }
}

/// A process at the other end of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its user.
    pub uid: u32,
    /// Its process, where the kernel tells.
    pub pid: Option<i32>,
    /// Its systemd unit, where it belongs to one and the kernel refers to it (SO_PEERPIDFD).
    pub unit: Option<String>,
}

impl TlsFacts {
    pub(crate) fn of(
        connection: &ServerConnection,
        leaf_spki_sha256: [u8; 32],
    ) -> Result<Self, rustls::Error> {
        let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
        let peer_leaf = connection.peer_certificates().and_then(|chain| chain.first()).cloned();
        let http2 = connection.alpn_protocol() == Some(b"h2");
        Ok(Self { exporter, leaf_spki_sha256, peer_leaf: peer_leaf.map(CertificateDer::into_owned), http2 })
    }
}
