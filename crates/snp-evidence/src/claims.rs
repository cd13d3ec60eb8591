//! Runtime claims: what attestation-svc states about itself beside the keys (docs/spec/bundle.md).
//!
//! Names follow EAT (RFC 9711). The exact bytes travel and are hashed into `report_data`.

use serde::{Deserialize, Serialize};

use crate::encoding::{B64Url, Object, word};

/// `eat_profile` of these claims.
pub const PROFILE: &str = "urn:uuid:e2805c00-b340-4897-bf4b-ea873e49e3b1";

/// Largest accepted claims, bytes.
const MAX_SIZE: usize = 8 * 1024;

/// The claims; all are required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeClaims {
    /// [`PROFILE`].
    pub eat_profile: String,
    /// Same value as the manifest's `boot_seed`.
    pub bootseed: B64Url<32>,
    /// IANA enterprise number of the hardware maker; AMD is 3704.
    pub oemid: u32,
    /// Product line: `milan`, `genoa` or `turin`.
    pub hwmodel: String,
    /// Whether the host may debug the guest, from the guest policy.
    #[serde(deserialize_with = "word")]
    pub dbgstat: DebugStatus,
    /// Name of the attesting program.
    pub swname: String,
    /// Its version.
    pub swversion: String,
    /// SHA-256 of the measured configuration file.
    pub measured_config_sha256: B64Url<32>,
    /// SHA-256 of the policy this CVM applied to itself.
    pub policy_sha256: B64Url<32>,
    /// Hash of the record of this boot's verdict in the audit log (docs/spec/audit.md).
    pub audit_head: B64Url<32>,
    /// Number of that record: the log only grows, so that a later boot has a higher one.
    pub audit_seq: u64,
}

/// EAT debug status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugStatus {
    /// The guest policy allows debugging.
    Enabled,
    /// The guest policy forbids debugging for the guest's whole life.
    DisabledPermanently,
}

/// Why claims were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Larger than 8 KiB.
    #[error("runtime claims are {0} bytes, at most {MAX_SIZE}")]
    TooLarge(usize),
    /// Not the strict JSON of this profile.
    #[error("runtime claims are not the strict JSON of their profile: {0}")]
    Json(#[from] serde_json::Error),
    /// Another profile.
    #[error("runtime claims have another eat_profile, need {PROFILE}")]
    Profile,
}

impl RuntimeClaims {
    /// Reads claims; every member known and once, the profile ours.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClaimsError> {
        if bytes.len() > MAX_SIZE {
            return Err(ClaimsError::TooLarge(bytes.len()));
        }
        let Object(claims) = serde_json::from_slice::<Object<Self>>(bytes)?;
        if claims.eat_profile == PROFILE { Ok(claims) } else { Err(ClaimsError::Profile) }
    }

    /// The bytes to publish and to hash; made once.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and integers only: serialising cannot fail, and empty bytes never parse.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
