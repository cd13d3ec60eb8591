//! Evidence bundle, version 1: the JSON that leaves a CVM (docs/spec/bundle.md).

use serde::{Deserialize, Serialize};

use crate::{
    challenge::Challenge,
    encoding::{B64, B64Url, Object, object, present, present_word, word},
    evidence::{Endorsements, Evidence, EvidenceFormat, Vek},
    nonce_tree::Hash48,
    report_data::{Binder, BindingType, ChannelRole, EXPORTER_LABEL, Purpose},
};

/// `profile` of bundles of version 1.
const PROFILE: &str = "urn:uuid:35ee822c-5f51-4575-92b6-637647580d55";
/// Largest accepted bundle, bytes.
pub const MAX_BUNDLE: usize = 64 * 1024;

/// A parsed bundle; nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    v: u32,
    profile: String,
    #[serde(deserialize_with = "word")]
    pub(crate) purpose: Purpose,
    #[serde(deserialize_with = "object")]
    pub(crate) challenge: StatedChallenge,
    #[serde(deserialize_with = "object")]
    pub(crate) tree: TreePosition,
    #[serde(deserialize_with = "object")]
    pub(crate) binding: Binding,
    #[serde(deserialize_with = "object")]
    evidence: SignedReport,
    pub(crate) key_manifest: B64,
    pub(crate) runtime_claims: B64,
    #[serde(deserialize_with = "object")]
    endorsements: Certificates,
}

/// What each challenge of one report has of its own: members of [`Bundle`], in their order.
#[derive(Serialize)]
struct Own {
    v: u32,
    profile: String,
    purpose: Purpose,
    challenge: StatedChallenge,
    tree: TreePosition,
    binding: Binding,
}

/// The other members.
#[derive(Serialize)]
struct Shared {
    evidence: SignedReport,
    key_manifest: B64,
    runtime_claims: B64,
    endorsements: Certificates,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatedChallenge {
    pub(crate) nonce: B64Url<32>,
}

/// Where the challenge's leaf stands in the report's nonce tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreePosition {
    /// Leaves in the tree.
    pub n: u32,
    /// Place of this leaf, from 0.
    pub index: u32,
    path: Vec<B64Url<48>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Binding {
    #[serde(deserialize_with = "word")]
    pub(crate) r#type: BindingType,
    #[serde(deserialize_with = "word")]
    pub(crate) role: ChannelRole,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    pub(crate) listener: String,
    pub(crate) leaf_spki_sha256: B64Url<32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedReport {
    #[serde(deserialize_with = "word")]
    format: EvidenceFormat,
    report: B64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificates {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    vek: Option<B64>,
    #[serde(default, deserialize_with = "present_word", skip_serializing_if = "Option::is_none")]
    vek_type: Option<VekType>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    ask: Option<B64>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    asvk: Option<B64>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    ark: Option<B64>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    crl: Option<B64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum VekType {
    Vcek,
    Vlek,
}

/// Why bytes are no bundle of version 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Larger than [`MAX_BUNDLE`].
    #[error("bundle is {0} bytes, at most {MAX_BUNDLE}")]
    TooLarge(usize),
    /// Not strict JSON: syntax, an unknown, duplicate or missing member, a wrong encoding.
    #[error("bundle is not strict JSON of version 1: {0}")]
    Json(#[from] serde_json::Error),
    /// A version other than 1.
    #[error("bundle has version {0}, need 1")]
    Version(u32),
    /// Another profile.
    #[error("bundle has another profile, need {PROFILE}")]
    Profile,
    /// `vek` without `vek_type` or the other way round.
    #[error("bundle states only one of vek and vek_type")]
    HalfVek,
    /// The exporter label is missing, misplaced or another one.
    #[error("bundle's binding label has to be {EXPORTER_LABEL} with tls-exporter and absent otherwise")]
    Label,
}

impl TreePosition {
    /// The place of a challenge that was answered alone.
    pub fn single() -> Self {
        Self::new(1, 0, &[])
    }

    /// A place in a tree of `n`, with the sibling digests from the leaf upwards.
    pub fn new(n: u32, index: u32, path: &[Hash48]) -> Self {
        Self { n, index, path: path.iter().copied().map(B64Url).collect() }
    }

    pub(crate) fn path(&self) -> Vec<Hash48> {
        self.path.iter().map(|hash| hash.0).collect()
    }
}

impl Bundle {
    /// Puts a bundle together. `tree` is where the report's tree has `challenge`; `key_manifest` and `runtime_claims`
    /// are the exact bytes hashed into its `report_data`.
    pub fn new(
        challenge: &Challenge,
        tree: TreePosition,
        evidence: &Evidence,
        key_manifest: &[u8],
        runtime_claims: &[u8],
    ) -> Self {
        let Challenge { purpose, nonce, binder } = challenge;
        Self {
            v: 1,
            profile: PROFILE.to_owned(),
            purpose: *purpose,
            challenge: StatedChallenge { nonce: B64Url(*nonce) },
            tree,
            binding: Binding::from(binder),
            evidence: SignedReport { format: evidence.format, report: B64(evidence.report.clone()) },
            key_manifest: B64(key_manifest.to_vec()),
            runtime_claims: B64(runtime_claims.to_vec()),
            endorsements: Certificates::from(&evidence.endorsements),
        }
    }

    /// The beginning of the bundle that [`Self::new`] makes, up to `binding`: followed by [`Self::shared`], it is the bundle.
    pub fn own(challenge: &Challenge, tree: TreePosition) -> Vec<u8> {
        let own = Own {
            v: 1,
            profile: PROFILE.to_owned(),
            purpose: challenge.purpose,
            challenge: StatedChallenge { nonce: B64Url(challenge.nonce) },
            tree,
            binding: Binding::from(&challenge.binder),
        };
        let mut json = serde_json::to_vec(&own).unwrap_or_default();
        if let Some(end) = json.last_mut() {
            *end = b',';
        }
        json
    }

    /// The rest, from `evidence` on, which all bundles of one report have in common.
    pub fn shared(evidence: &Evidence, key_manifest: &[u8], runtime_claims: &[u8]) -> Vec<u8> {
        let shared = Shared {
            evidence: SignedReport { format: evidence.format, report: B64(evidence.report.clone()) },
            key_manifest: B64(key_manifest.to_vec()),
            runtime_claims: B64(runtime_claims.to_vec()),
            endorsements: Certificates::from(&evidence.endorsements),
        };
        serde_json::to_vec(&shared).unwrap_or_default().split_off(1)
    }

    /// Reads a bundle strictly.
    pub fn parse(json: &[u8]) -> Result<Self, BundleError> {
        if json.len() > MAX_BUNDLE {
            return Err(BundleError::TooLarge(json.len()));
        }
        let Object(bundle) = serde_json::from_slice::<Object<Self>>(json)?;
        bundle.consistent()?;
        Ok(bundle)
    }

    fn consistent(&self) -> Result<(), BundleError> {
        let label = (self.binding.r#type == BindingType::TlsExporter).then_some(EXPORTER_LABEL);
        if self.v != 1 {
            Err(BundleError::Version(self.v))
        } else if self.profile != PROFILE {
            Err(BundleError::Profile)
        } else if self.endorsements.vek.is_some() != self.endorsements.vek_type.is_some() {
            Err(BundleError::HalfVek)
        } else if self.binding.label.as_deref() != label {
            Err(BundleError::Label)
        } else {
            Ok(())
        }
    }

    /// The JSON to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and integers only: serialising cannot fail, and empty bytes never parse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The report with its endorsements.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            format: self.evidence.format,
            report: self.evidence.report.0.clone(),
            endorsements: self.endorsements.to_endorsements(),
        }
    }

    /// Exact key manifest bytes.
    pub fn key_manifest(&self) -> &[u8] {
        &self.key_manifest.0
    }

    /// Exact runtime claims bytes.
    pub fn runtime_claims(&self) -> &[u8] {
        &self.runtime_claims.0
    }
}

impl From<&Binder> for Binding {
    fn from(binder: &Binder) -> Self {
        let with_exporter = binder.kind == BindingType::TlsExporter;
        Self {
            r#type: binder.kind,
            role: binder.role,
            label: with_exporter.then(|| EXPORTER_LABEL.to_owned()),
            listener: binder.listener.clone(),
            leaf_spki_sha256: B64Url(binder.leaf_spki_sha256),
        }
    }
}

impl From<&Endorsements> for Certificates {
    fn from(from: &Endorsements) -> Self {
        let b64 = |der: &Option<Vec<u8>>| der.clone().map(B64);
        Self {
            vek: from.vek.as_ref().map(|vek| B64(vek.der().to_vec())),
            vek_type: from.vek.as_ref().map(|vek| match vek {
                Vek::Vcek(_) => VekType::Vcek,
                Vek::Vlek(_) => VekType::Vlek,
            }),
            ask: b64(&from.ask),
            asvk: b64(&from.asvk),
            ark: b64(&from.ark),
            crl: b64(&from.crl),
        }
    }
}

impl Certificates {
    fn to_endorsements(&self) -> Endorsements {
        let der = |b64: &Option<B64>| b64.clone().map(|b64| b64.0);
        let vek = der(&self.vek).zip(self.vek_type).map(|(der, kind)| match kind {
            VekType::Vcek => Vek::Vcek(der),
            VekType::Vlek => Vek::Vlek(der),
        });
        Endorsements {
            vek,
            ask: der(&self.ask),
            asvk: der(&self.asvk),
            ark: der(&self.ark),
            crl: der(&self.crl),
        }
    }
}
