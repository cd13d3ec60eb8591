//! Workloads of others in this CVM, behind a mesh's proxy: the keys that it is handed for them, and whose key is alive.
//!
//! These keys leave this process, for that is how secret discovery works; no identity of Cube's own is among them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use service_runtime::Mesh;

use crate::ca::{Ca, CaError, WORKLOAD_LIFE};

/// The workloads that the measured configuration names, by name.
#[derive(Debug, Default)]
pub(crate) struct Workloads(BTreeMap<String, Workload>);

/// One of them. Its key is kept for the life of this process, so that a new certificate ends no connection.
struct Workload {
    key: KeyPair,
    spki_sha256: [u8; 32],
    /// The end of its newest certificate, in seconds since 1970.
    until: AtomicI64,
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// As DER spells it, in hexadecimal.
    pub(crate) serial: String,
}

impl Workloads {
    /// With a new key for each; none without a proxy.
    pub(crate) fn new(mesh: Option<&Mesh>) -> Result<Self, CaError> {
        let names = mesh.into_iter().flat_map(|mesh| &mesh.workloads);
        let keys = names.map(|name| Ok((name.clone(), Workload::new()?)));
        Ok(Self(keys.collect::<Result<_, CaError>>()?))
    }

    /// Which workload `name` asks for: its own name, behind `workload/` or not, its SPIFFE ID, or `default` where there is one
    /// alone.
    pub(crate) fn find(&self, name: &str, prefix: &str) -> Option<&str> {
        let name = name.strip_prefix(prefix).unwrap_or(name);
        if let (1, "default", Some(only)) = (self.0.len(), name, self.0.keys().next()) {
            return Some(only);
        }
        let name = name.strip_prefix("workload/").unwrap_or(name);
        self.0.get_key_value(name).map(|(name, _)| name.as_str())
    }

    /// A new certificate for `name`, by `ca`; `None` where there is no such workload.
    pub(crate) fn issue(&self, name: &str, ca: &Ca, now: i64) -> Result<Option<Issued>, CaError> {
        let Some(workload) = self.0.get(name) else { return Ok(None) };
        let certificate = ca.issue_workload(name, &workload.key, now)?;
        let serial = mtls::serial_of(&certificate).map_err(|_| CaError::Key)?;
        workload.until.store(now.saturating_add(WORKLOAD_LIFE), Ordering::Release);
        Ok(Some(Issued {
            certificate: mtls::pem(&certificate),
            key: workload.key.serialize_pem(),
            serial: hex::encode(serial),
        }))
    }

    /// The workload whose key this is, while its newest certificate is valid.
    pub(crate) fn alive(&self, spki_sha256: &[u8; 32], now: i64) -> Option<&str> {
        let lives = |workload: &Workload| {
            workload.spki_sha256 == *spki_sha256 && now < workload.until.load(Ordering::Acquire)
        };
        self.0.iter().find(|(_, workload)| lives(workload)).map(|(name, _)| name.as_str())
    }
}

impl Workload {
    fn new() -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut spki_sha256 = [0; 32];
        spki_sha256.copy_from_slice(digest(&SHA256, &key.subject_public_key_info()).as_ref());
        Ok(Self { key, spki_sha256, until: AtomicI64::new(i64::MIN) })
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").field("until", &self.until).finish_non_exhaustive()
    }
}
