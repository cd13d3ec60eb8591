//! Evidence as a server offered it, and its appraisal.

use std::{fmt, str::FromStr};

use snp_evidence::{Binder, Challenge, Policy, Purpose, Refusal, TrustRoots, UnixTime};

use crate::{AttestedChannel, Unattested};

/// How the report is bound to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// To this very TLS connection and the server's key. Stops a relay even by a holder of that key.
    TlsExporter,
    /// To the server's key alone. Does not stop a holder of that key.
    TlsSpki,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsExporter => "tls-exporter",
            Self::TlsSpki => "tls-spki",
        })
    }
}

impl FromStr for Binding {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tls-exporter" => Ok(Self::TlsExporter),
            "tls-spki" => Ok(Self::TlsSpki),
            _ => Err("the binding is tls-exporter or tls-spki"),
        }
    }
}

/// A connection and the bundle it gave about itself, not judged yet.
#[derive(Debug)]
pub struct Offer {
    connection: Unattested,
    bundle: Vec<u8>,
    challenge: Challenge,
}

impl Offer {
    pub(crate) fn new(connection: Unattested, bundle: Vec<u8>, nonce: [u8; 32], binder: Binder) -> Self {
        Self { connection, bundle, challenge: Challenge { purpose: Purpose::Fresh, nonce, binder } }
    }

    /// The bundle's bytes as they came.
    pub fn bundle(&self) -> &[u8] {
        &self.bundle
    }

    /// What this side knows of its own: nonce, exporter, leaf key, listener.
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The connection that the bundle came from.
    pub fn connection(&self) -> &Unattested {
        &self.connection
    }

    /// Judges the bundle against what this side knows of its own, and turns the
    /// connection into a channel. A refusal closes the connection.
    pub fn appraise(
        self,
        roots: &TrustRoots,
        policy: &Policy,
        now: UnixTime,
    ) -> Result<AttestedChannel, Refusal> {
        let verified = snp_evidence::appraise(&self.bundle, roots, policy, &self.challenge, now)?;
        Ok(AttestedChannel::new(self.connection, verified))
    }
}
