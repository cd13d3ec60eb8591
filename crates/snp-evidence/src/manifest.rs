//! The key manifest: every public key this CVM answers for (docs/spec/bundle.md).
//!
//! Serialised once by attestation-svc; its exact bytes travel and are hashed into `report_data`.

use serde::{Deserialize, Serialize};

use crate::{
    digest::sha256,
    encoding::{B64, B64Url, Object, objects, present, word},
};

/// Largest accepted manifest, bytes.
const MAX_SIZE: usize = 32 * 1024;
/// Most keys in a manifest.
const MAX_KEYS: usize = 64;

/// The manifest, version 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyManifest {
    /// Format, 1.
    pub v: u32,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// This CVM's instance name within the trust domain.
    pub instance: String,
    /// Random per boot of attestation-svc.
    pub boot_seed: B64Url<32>,
    /// Counts up from 1 within a boot.
    pub version: u64,
    /// SHA-384 of the previous manifest's bytes; absent in version 1.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub prev: Option<B64Url<48>>,
    /// The keys, at most 64.
    #[serde(deserialize_with = "objects")]
    pub keys: Vec<ManifestKey>,
}

/// One public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestKey {
    /// What it signs.
    #[serde(deserialize_with = "word")]
    pub r#use: KeyUse,
    /// `P-256` or `P-384`.
    pub alg: String,
    /// DER `SubjectPublicKeyInfo`.
    pub spki: B64,
    /// SHA-256 of `spki`.
    pub sha256: B64Url<32>,
    /// SPIFFE ID of the holder.
    pub owner: String,
    /// The listener a TLS key serves; absent for other uses.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Counts up with each rotation of this use and owner.
    pub seq: u64,
}

/// What a key in the manifest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUse {
    /// Issues SVIDs.
    Ca,
    /// Signs health tokens.
    Token,
    /// Terminates TLS.
    Tls,
}

/// The role that owns a key: the last part of its SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// attestation-svc.
    Attestation,
    /// inference-gateway.
    Gateway,
    /// backend-adapter.
    Adapter,
}

impl Owner {
    fn as_str(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Gateway => "gateway",
            Self::Adapter => "adapter",
        }
    }
}

/// Why manifest bytes were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Larger than 32 KiB.
    #[error("key manifest is {0} bytes, at most {MAX_SIZE}")]
    TooLarge(usize),
    /// Not the strict JSON of version 1.
    #[error("key manifest is not strict JSON of version 1: {0}")]
    Json(#[from] serde_json::Error),
    /// A version other than 1.
    #[error("key manifest has version {0}, need 1")]
    Version(u32),
    /// `version` 0, or `prev` in the first manifest, or none in a later one.
    #[error("key manifest number {0}: they count from 1, and the first alone has no prev")]
    Predecessor(u64),
    /// More than 64 keys.
    #[error("key manifest has {0} keys, at most {MAX_KEYS}")]
    TooManyKeys(usize),
    /// A key whose digest does not match, whose algorithm is unknown or whose listener is misplaced.
    #[error("key {index} of the key manifest: {problem}")]
    Key {
        /// Place in `keys`, from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl KeyManifest {
    /// Reads manifest bytes; every member known and once, every key's digest right.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_SIZE {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let Object(manifest) = serde_json::from_slice::<Object<Self>>(bytes)?;
        if manifest.v != 1 {
            return Err(ManifestError::Version(manifest.v));
        }
        if manifest.version == 0 || (manifest.version == 1) != manifest.prev.is_none() {
            return Err(ManifestError::Predecessor(manifest.version));
        }
        if manifest.keys.len() > MAX_KEYS {
            return Err(ManifestError::TooManyKeys(manifest.keys.len()));
        }
        match manifest.keys.iter().enumerate().find_map(|(index, key)| Some((index, key.problem()?))) {
            Some((index, problem)) => Err(ManifestError::Key { index, problem }),
            None => Ok(manifest),
        }
    }

    /// The bytes to publish and to hash; made once per manifest.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and integers only: serialising cannot fail, and empty bytes never parse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The SPIFFE ID of a role of this CVM.
    pub fn identity(&self, owner: Owner) -> String {
        format!("spiffe://{}/cvm/{}/svc/{}", self.trust_domain, self.instance, owner.as_str())
    }

    /// The TLS key with this digest, if it belongs to this role of this CVM and to this listener.
    pub fn tls_key(&self, spki_sha256: &[u8; 32], owner: Owner, listener: &str) -> Option<&ManifestKey> {
        let owner = self.identity(owner);
        self.keys.iter().find(|key| {
            key.r#use == KeyUse::Tls
                && key.sha256.0 == *spki_sha256
                && key.owner == owner
                && key.listener.as_deref() == Some(listener)
        })
    }

    /// Keys that sign health tokens of this CVM.
    pub fn token_keys(&self) -> impl Iterator<Item = &ManifestKey> {
        self.of_attestation(KeyUse::Token)
    }

    /// Keys that issue SVIDs of this CVM.
    pub fn ca_keys(&self) -> impl Iterator<Item = &ManifestKey> {
        self.of_attestation(KeyUse::Ca)
    }

    fn of_attestation(&self, r#use: KeyUse) -> impl Iterator<Item = &ManifestKey> {
        let owner = self.identity(Owner::Attestation);
        self.keys.iter().filter(move |key| key.r#use == r#use && key.owner == owner)
    }
}

impl ManifestKey {
    fn problem(&self) -> Option<&'static str> {
        if sha256(&self.spki.0) != self.sha256.0 {
            return Some("sha256 is not the digest of spki");
        }
        if !matches!(self.alg.as_str(), "P-256" | "P-384") {
            return Some("alg is neither P-256 nor P-384");
        }
        (self.listener.is_some() != (self.r#use == KeyUse::Tls))
            .then_some("listener belongs to tls keys, and to each of them")
    }
}
