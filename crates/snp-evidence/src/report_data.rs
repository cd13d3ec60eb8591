//! What the 64 `report_data` bytes of a report commit to (docs/spec/report-data.md).

use serde::{Deserialize, Serialize};

use crate::{
    digest::{sha384, sha512},
    nonce_tree::Root,
};

/// The gateway's public listener in key manifests and binders.
pub const PUBLIC_LISTENER: &str = "gateway/public";
/// TLS exporter label of the `tls-exporter` binding (RFC 9266), used without context, 32 bytes.
pub const EXPORTER_LABEL: &str = "EXPORTER-Channel-Binding";

const DOMAIN: &[u8] = b"cube/report-data/v1\0";

/// Why the report was asked for. Reports of one purpose never pass for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Purpose {
    /// attestation-svc's own report at start, before keys and with the manifest.
    Boot = 1,
    /// A relying party's challenge.
    Fresh = 2,
    /// Published without a challenge; proves no freshness.
    Cached = 3,
    /// Another CVM's challenge.
    Peer = 5,
}

/// What ties a report to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum BindingType {
    /// No channel.
    None = 0,
    /// One TLS connection: leaf key and exporter.
    TlsExporter = 1,
    /// Every TLS connection of one leaf key.
    TlsSpki = 2,
    /// An HPKE key.
    Hpke = 3,
    /// A key being enrolled over attestation-svc's own socket.
    Enrolment = 4,
}

/// Which end of the channel the attester is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum ChannelRole {
    /// The attester accepted the connection.
    Server = 1,
    /// The attester dialled.
    Client = 2,
}

/// The channel part of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binder {
    /// Kind of channel.
    pub kind: BindingType,
    /// The attester's end of it.
    pub role: ChannelRole,
    /// SHA-256 of the DER `SubjectPublicKeyInfo` of the attester's end; zero without a channel.
    pub leaf_spki_sha256: [u8; 32],
    /// Exporter value; only with [`BindingType::TlsExporter`]. Never sent: each end computes it.
    pub exporter: Option<[u8; 32]>,
    /// Listener name such as [`PUBLIC_LISTENER`]; empty without a channel.
    pub listener: String,
}

impl Binder {
    /// No channel: a report that attestation-svc makes for itself.
    pub fn none() -> Self {
        Self::new(BindingType::None, [0; 32], None, "")
    }

    /// One TLS connection, by its leaf key and exporter.
    pub fn tls_exporter(leaf_spki_sha256: [u8; 32], exporter: [u8; 32], listener: &str) -> Self {
        Self::new(BindingType::TlsExporter, leaf_spki_sha256, Some(exporter), listener)
    }

    /// Any TLS connection that ends at this leaf key.
    pub fn tls_spki(leaf_spki_sha256: [u8; 32], listener: &str) -> Self {
        Self::new(BindingType::TlsSpki, leaf_spki_sha256, None, listener)
    }

    /// A service key that is being enrolled.
    pub fn enrolment(spki_sha256: [u8; 32], listener: &str) -> Self {
        Self::new(BindingType::Enrolment, spki_sha256, None, listener)
    }

    fn new(kind: BindingType, leaf: [u8; 32], exporter: Option<[u8; 32]>, listener: &str) -> Self {
        let role = ChannelRole::Server;
        Self { kind, role, leaf_spki_sha256: leaf, exporter, listener: listener.to_owned() }
    }

    /// type:u8 ‖ role:u8 ‖ LP(leaf) ‖ LP(exporter or empty) ‖ LP(listener)
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.kind as u8, self.role as u8];
        put_lp(&mut out, &self.leaf_spki_sha256);
        put_lp(&mut out, self.exporter.as_ref().map_or(&[], |value| value.as_slice()));
        put_lp(&mut out, self.listener.as_bytes());
        out
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.kind, BindingType::TlsExporter | BindingType::TlsSpki)
    }
}

/// The 64 bytes a report has to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportData([u8; 64]);

impl ReportData {
    /// Commits to the purpose, a nonce tree's root and the exact bytes of manifest and claims.
    pub fn compute(purpose: Purpose, root: &Root, key_manifest: &[u8], runtime_claims: &[u8]) -> Self {
        let mut input = DOMAIN.to_vec();
        input.push(purpose as u8);
        put_lp(&mut input, root.as_bytes());
        put_lp(&mut input, &sha384(&[key_manifest]));
        put_lp(&mut input, &sha384(&[runtime_claims]));
        Self(sha512(&input))
    }

    /// A digest and 32 zero bytes: a form that is only compared, never asked for, so not public.
    pub(crate) fn of_sha256(digest: &[u8; 32]) -> Self {
        let mut out = [0; 64];
        out.iter_mut().zip(digest).for_each(|(slot, byte)| *slot = *byte);
        Self(out)
    }

    /// The bytes for the secure processor.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// LP(x): 4-byte big-endian length, then the bytes.
pub(crate) fn put_lp(out: &mut Vec<u8>, bytes: &[u8]) {
    // Every caller passes a digest, an exporter or a listener name; saturating keeps this total.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}
