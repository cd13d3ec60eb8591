//! The key manifest in force: each change is a new version that names its predecessor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, digest};
use mtls::{Role, SpiffeId};
use snp_evidence::{B64, B64Url, KeyManifest, KeyUse, ManifestKey};

use crate::ca::Ca;
use crate::mint::Mint;

/// One version, serialised once: these bytes travel and are hashed.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) manifest: KeyManifest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha384: [u8; 48],
}

impl Published {
    fn new(manifest: KeyManifest) -> Arc<Self> {
        let bytes = manifest.to_bytes();
        let sha384 = hash(&SHA384, &bytes);
        Arc::new(Self { manifest, bytes, sha384 })
    }

    fn followed_by(&self, keys: Vec<ManifestKey>) -> Arc<Self> {
        let KeyManifest { version, .. } = self.manifest;
        let prev = Some(B64Url(self.sha384));
        Self::new(KeyManifest { version: version + 1, prev, keys, ..self.manifest.clone() })
    }

    /// The listener that the key serves, if it is a TLS key of `owner`.
    pub(crate) fn listener_of(&self, owner: &SpiffeId, spki_sha256: &[u8; 32]) -> Option<&str> {
        let owner = owner.to_string();
        let is_it = |key: &&ManifestKey| {
            key.r#use == KeyUse::Tls && key.owner == owner && key.sha256.0 == *spki_sha256
        };
        self.manifest.keys.iter().find(is_it)?.listener.as_deref()
    }
}

/// A key of attestation-svc's own, as the manifest lists it.
pub(crate) trait Listed {
    /// What it is for.
    const USE: KeyUse;
    /// `SubjectPublicKeyInfo`, DER.
    fn spki(&self) -> &[u8];
    /// Counts the keys of this use from 1.
    fn seq(&self) -> u64;
}

/// Holds the version in force.
#[derive(Debug)]
pub(crate) struct Manifests {
    current: Mutex<Arc<Published>>,
    own: SpiffeId,
}

impl Manifests {
    /// Version 1: the CA and the token key.
    pub(crate) fn first(boot_seed: [u8; 32], ca: &Ca, mint: &Mint) -> Self {
        let own = ca.identity(Role::Attestation);
        let manifest = KeyManifest {
            v: 1,
            trust_domain: own.trust_domain().to_owned(),
            instance: own.instance().to_owned(),
            boot_seed: B64Url(boot_seed),
            version: 1,
            prev: None,
            keys: vec![own_entry(ca, &own), own_entry(mint, &own)],
        };
        Self { current: Mutex::new(Published::new(manifest)), own }
    }

    /// What the version after the one in force would be, if it listed exactly `keys` of their use.
    pub(crate) fn listing<K: Listed>(&self, keys: &[Arc<K>]) -> Arc<Published> {
        let current = self.current();
        let others = current.manifest.keys.iter().filter(|key| key.r#use != K::USE).cloned();
        let own = keys.iter().map(|key| own_entry(&**key, &self.own));
        current.followed_by(own.chain(others).collect())
    }

    /// Puts `next` in force, unless another version came meanwhile.
    pub(crate) fn publish(&self, next: &Arc<Published>) -> bool {
        let mut current = self.locked();
        let follows = next.manifest.prev == Some(B64Url(current.sha384));
        if follows {
            *current = Arc::clone(next);
        }
        follows
    }

    /// Puts a version in force that lists exactly `keys` of their use.
    pub(crate) fn list<K: Listed>(&self, keys: impl Fn() -> Vec<Arc<K>>) {
        while !self.publish(&self.listing(&keys())) {}
    }

    /// The version in force.
    pub(crate) fn current(&self) -> Arc<Published> {
        Arc::clone(&self.locked())
    }

    fn locked(&self) -> MutexGuard<'_, Arc<Published>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `keys` (listener, SPKI) the listener keys of `owner`, in place of those it had, and
    /// gives the version that lists them: a new one unless they are listed already.
    pub(crate) fn set_listener_keys(&self, owner: &SpiffeId, keys: &[(String, Vec<u8>)]) -> Arc<Published> {
        let mut current = self.locked();
        let before = &current.manifest;
        let owned = |key: &&ManifestKey| key.r#use == KeyUse::Tls && key.owner == owner.to_string();
        let listed = before.keys.iter().filter(owned);
        if listed.clone().map(|key| (key.listener.as_deref(), &key.spki.0)).eq(keys.iter().map(as_listed)) {
            return Arc::clone(&current);
        }
        let seq = listed.map(|key| key.seq).max().unwrap_or(0) + 1;
        let others = before.keys.iter().filter(|key| !owned(key)).cloned();
        let own =
            keys.iter().map(|(listener, spki)| entry(KeyUse::Tls, "P-256", spki, owner, Some(listener), seq));
        *current = current.followed_by(others.chain(own).collect());
        Arc::clone(&current)
    }
}

fn as_listed((listener, spki): &(String, Vec<u8>)) -> (Option<&str>, &Vec<u8>) {
    (Some(listener), spki)
}

fn own_entry<K: Listed>(key: &K, own: &SpiffeId) -> ManifestKey {
    entry(K::USE, "P-384", key.spki(), own, None, key.seq())
}

fn entry(
    r#use: KeyUse,
    alg: &str,
    spki: &[u8],
    owner: &SpiffeId,
    listener: Option<&String>,
    seq: u64,
) -> ManifestKey {
    ManifestKey {
        r#use,
        alg: alg.to_owned(),
        spki: B64(spki.to_vec()),
        sha256: B64Url(hash(&SHA256, spki)),
        owner: owner.to_string(),
        listener: listener.cloned(),
        seq,
    }
}

pub(crate) fn hash<const N: usize>(algorithm: &'static Algorithm, bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(digest(algorithm, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];

    fn start() -> (Ca, Manifests) {
        let ca = Ca::generate("demo.cube.internal", &SEED, 1_767_225_600).unwrap();
        let manifests = Manifests::first(SEED, &ca, &Mint::generate().unwrap());
        (ca, manifests)
    }

    #[test]
    fn the_instance_follows_from_seed_and_ca() {
        let (ca, manifests) = start();
        let hash: [u8; 32] = hash(&SHA256, &[&SEED, ca.spki()].concat());
        assert_eq!(ca.instance(), hex::encode(&hash[..8]));
        assert_eq!(manifests.current().manifest.instance, ca.instance());
        assert_ne!(start().0.instance(), ca.instance(), "another CA, another instance");
    }

    #[test]
    fn each_change_is_a_version_that_names_its_predecessor() {
        let (ca, manifests) = start();
        let gateway = ca.identity(Role::Gateway);
        let key = |byte| [("gateway/public".to_owned(), vec![byte; 91])];
        let first = manifests.current();
        let second = manifests.set_listener_keys(&gateway, &key(1));
        let again = manifests.set_listener_keys(&gateway, &key(1));
        let third = manifests.set_listener_keys(&gateway, &key(2));

        assert_eq!(second.manifest.prev, Some(B64Url(first.sha384)));
        assert_eq!(third.manifest.prev, Some(B64Url(second.sha384)));
        assert!(Arc::ptr_eq(&second, &again));
        assert_eq!((second.manifest.version, third.manifest.version), (2, 3));
        assert_eq!(third.manifest.keys.iter().map(|key| key.seq).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(KeyManifest::parse(&third.bytes).unwrap(), third.manifest);
        assert!(manifests.set_listener_keys(&gateway, &[]).manifest.keys.len() == 2, "keys can go");
    }

    #[test]
    fn a_listener_key_is_its_owners_alone() {
        let (ca, manifests) = start();
        let (gateway, adapter) = (ca.identity(Role::Gateway), ca.identity(Role::Adapter));
        let published = manifests.set_listener_keys(&gateway, &[("gateway/public".to_owned(), vec![1; 91])]);
        let sha256 = hash(&SHA256, &[1; 91]);
        assert_eq!(published.listener_of(&gateway, &sha256), Some("gateway/public"));
        assert_eq!(published.listener_of(&adapter, &sha256), None);
        let ca_key = hash(&SHA256, ca.spki());
        assert_eq!(published.listener_of(&ca.identity(Role::Attestation), &ca_key), None, "not a TLS key");
    }
}
