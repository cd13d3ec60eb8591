//! What a token says. Every member is required, and there are no others.

use serde::{Deserialize, Serialize};

use crate::encoding::{B64Url, object};
use crate::key::{P256, coordinates, thumbprint};

/// `eat_profile`: tells a health token from any other WIT. Chosen once.
pub const PROFILE: &str = "urn:uuid:5b6ec8ba-d955-45f4-97c8-764ae456a7d6";
/// The only `ear_status` that is believed.
pub const AFFIRMING: &str = "affirming";

/// The claims of a health token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// SPIFFE ID of the attestation-svc that vouches.
    pub iss: String,
    /// SPIFFE ID of the holder.
    pub sub: String,
    /// Issued at, in seconds since 1970.
    pub iat: i64,
    /// Not valid before, in seconds since 1970.
    pub nbf: i64,
    /// Not valid from this second on; at most [`crate::MAX_LIFE`] after `iat`.
    pub exp: i64,
    /// Random, for audit only.
    pub jti: B64Url<16>,
    /// The key that the token is bound to.
    #[serde(deserialize_with = "object")]
    pub cnf: Confirmation,
    /// [`PROFILE`].
    pub eat_profile: String,
    /// Nonce of the request that the token answers; means something to its holder only.
    pub eat_nonce: B64Url<32>,
    /// This boot's seed: kills the tokens of earlier boots.
    pub bootseed: B64Url<32>,
    /// Health epoch: tokens below the current minimum are void.
    pub hep: u64,
    /// The evidence behind the token.
    #[serde(deserialize_with = "object")]
    pub att: Attested,
    /// [`AFFIRMING`].
    pub ear_status: String,
}

/// Proof-of-possession key (RFC 7800).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Key of the holder's TLS certificate. This binds.
    #[serde(deserialize_with = "object")]
    pub jwk: Jwk,
    /// SHA-256 of that certificate (RFC 8705). Information for meshes: certificates are renewed
    /// while connections stay open.
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: B64Url<32>,
}

/// A P-256 public key (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwk {
    kty: String,
    crv: String,
    alg: String,
    x: B64Url<32>,
    y: B64Url<32>,
}

impl Jwk {
    /// The key in `spki`, a `SubjectPublicKeyInfo` in DER; `None` unless it is an uncompressed P-256 key.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        let (x, y) = coordinates(spki, P256)?;
        let text = |value: &str| value.to_owned();
        Some(Self { kty: text("EC"), crv: text("P-256"), alg: text("ES256"), x: B64Url(x), y: B64Url(y) })
    }

    /// RFC 7638 thumbprint: 43 characters of base64url.
    pub fn thumbprint(&self) -> String {
        thumbprint("P-256", self.x, self.y)
    }
}

/// What was attested when the token was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// SHA-256 of the SNP report over the key manifest.
    pub report_sha256: B64Url<32>,
    /// Launch measurement.
    pub measurement: B64Url<48>,
    /// SHA-256 of the policy that the evidence was judged by.
    pub policy_sha256: B64Url<32>,
    /// SHA-384 of the key manifest in force.
    pub key_manifest_sha384: B64Url<48>,
}
