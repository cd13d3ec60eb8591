//! What a service needs to speak mutual TLS, replaceable while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use service_runtime::{Clock, ServerTls};

use crate::certificate::spki_of;
use crate::identity::{IdentityError, Role, SpiffeId};
use crate::key::{KeyError, ServiceKey};
use crate::tls;

/// A service's certificate chain, leaf first, and the key of its leaf.
#[derive(Clone, Debug)]
pub struct Svid {
    /// The key that the leaf certifies.
    pub key: ServiceKey,
    /// DER, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Handle on the current SVID and trust bundle; clones see each other's changes.
#[derive(Clone)]
pub struct Material {
    clock: Arc<dyn Clock>,
    current: Arc<ArcSwapOption<Current>>,
}

struct Current {
    identity: SpiffeId,
    server: ServerTls,
    /// By the role of the server.
    clients: BTreeMap<Role, Arc<ClientConfig>>,
}

impl Material {
    /// Empty: no connection can be made or accepted. `clock` judges certificate dates.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, current: Arc::default() }
    }

    /// Puts new material in force for new connections; where it is refused the old stays.
    ///
    /// `trust_domain` and `instance` are those of the verified key manifest: the SVID must be of
    /// that instance, and so must every peer.
    pub fn set(
        &self,
        svid: &Svid,
        trust_bundle: Vec<CertificateDer<'static>>,
        trust_domain: &str,
        instance: &str,
    ) -> Result<(), MaterialError> {
        let identity = svid_identity(svid)?;
        if (identity.trust_domain(), identity.instance()) != (trust_domain, instance) {
            return Err(MaterialError::OtherInstance(identity.to_string()));
        }
        let mut roots = RootCertStore::empty();
        trust_bundle.into_iter().try_for_each(|ca| roots.add(ca))?;
        let roots = Arc::new(roots);
        let server = tls::mutual_server(svid, Arc::clone(&roots), &identity, &self.clock)?;
        let client = |role| {
            let client = tls::mutual_client(svid, Arc::clone(&roots), identity.sibling(role), &self.clock)?;
            Ok::<_, rustls::Error>((role, client))
        };
        let clients = Role::ALL.into_iter().map(client).collect::<Result<_, _>>()?;
        self.current.store(Some(Arc::new(Current { identity, server, clients })));
        Ok(())
    }

    /// Who this service is.
    pub fn identity(&self) -> Option<SpiffeId> {
        self.current.load().as_ref().map(|current| current.identity.clone())
    }

    /// Server side of mutual TLS: ALPN h2; the client shows an SVID of the same instance.
    pub fn server_tls(&self) -> Option<ServerTls> {
        self.current.load().as_ref().map(|current| current.server.clone())
    }

    /// Client side of mutual TLS: ALPN h2; the server is exactly `expect` of the same instance.
    ///
    /// rustls asks for a server name, which proves nothing here: pass [`crate::no_name`].
    pub fn client_config(&self, expect: Role) -> Option<Arc<ClientConfig>> {
        self.current.load().as_ref()?.clients.get(&expect).cloned()
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("identity", &self.identity()).finish_non_exhaustive()
    }
}

fn svid_identity(svid: &Svid) -> Result<SpiffeId, MaterialError> {
    let leaf = svid.chain.first().ok_or(MaterialError::NoCertificate)?;
    if spki_of(leaf)? != svid.key.spki_der() {
        return Err(MaterialError::OtherKey);
    }
    Ok(SpiffeId::from_certificate(leaf)?)
}

/// Why material is refused.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// The chain is empty.
    #[error("the SVID has no certificate")]
    NoCertificate,
    /// The leaf certifies another key.
    #[error("the SVID certifies another key than the service's")]
    OtherKey,
    /// The SVID is not of the instance in the manifest.
    #[error("the SVID is for {0}, which is not of the manifest's instance")]
    OtherInstance(String),
    /// The SVID names no identity of Cube's.
    #[error("the SVID names no service")]
    Identity(#[from] IdentityError),
    /// The leaf cannot be read.
    #[error("the SVID cannot be read")]
    Key(#[from] KeyError),
    /// rustls cannot work with the chain or the bundle.
    #[error("the trust bundle or the SVID cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// The trust bundle is empty or holds no usable CA.
    #[error("the trust bundle holds no usable CA")]
    Bundle(#[from] rustls::server::VerifierBuilderError),
}
