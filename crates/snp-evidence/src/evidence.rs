//! What an attester hands over. All of it is untrusted until a check has looked at it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which kind of processor claims to have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvidenceFormat {
    /// A report of an AMD secure processor.
    #[serde(rename = "amd-sev-snp-report")]
    AmdSevSnp,
    /// A report in AMD's format made by Cube's software simulator.
    #[serde(rename = "simulated-amd-sev-snp-report")]
    SimulatedAmdSevSnp,
}

impl fmt::Display for EvidenceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AmdSevSnp => "amd-sev-snp-report",
            Self::SimulatedAmdSevSnp => "simulated-amd-sev-snp-report",
        })
    }
}

/// The certificate of the key that signed the report, as DER (AMD 57230, 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vek {
    /// Versioned chip endorsement key: one chip at one TCB.
    Vcek(Vec<u8>),
    /// Versioned loaded endorsement key: one cloud provider at one TCB.
    Vlek(Vec<u8>),
}

impl Vek {
    /// The certificate's DER.
    pub fn der(&self) -> &[u8] {
        match self {
            Self::Vcek(der) | Self::Vlek(der) => der,
        }
    }
}

/// Certificates that travel with a report, each DER (AMD 57230, 3). Untrusted transport: every item has to prove itself,
/// and what differs from a pinned certificate is refused, not ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endorsements {
    /// The report's signer.
    pub vek: Option<Vek>,
    /// AMD SEV signing key certificate, issuer of VCEKs.
    pub ask: Option<Vec<u8>>,
    /// AMD SEV VLEK signing key certificate, issuer of VLEKs.
    pub asvk: Option<Vec<u8>>,
    /// AMD root key certificate.
    pub ark: Option<Vec<u8>>,
    /// Revocation list that covers the VEK's issuer: the one that the ASK's or ASVK's certificate points to.
    pub crl: Option<Vec<u8>>,
}

/// A report with whatever came along to judge it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What the attester says it is.
    pub format: EvidenceFormat,
    /// `ATTESTATION_REPORT` (AMD 56860, 7.3) exactly as received; 1184 bytes if genuine.
    pub report: Vec<u8>,
    /// Certificates that came along.
    pub endorsements: Endorsements,
}
