//! The simulator in the place of the guest device.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use snp_evidence::{Endorsements, Evidence, EvidenceFormat, Vek};
use snp_platform::{Platform, PlatformError};
use snp_simulator::{Guest, SecureProcessor, SigningKey};

/// A simulated machine with one guest.
#[derive(Debug)]
pub struct SimulatedPlatform {
    processor: SecureProcessor,
    guest: Guest,
}

impl SimulatedPlatform {
    /// Loads the machine and guest that [`crate::prepare`] wrote.
    pub fn load(machine: &Path, guest: &Path) -> Result<Self> {
        let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
        Ok(Self {
            processor: SecureProcessor::from_json(&read(machine)?)?,
            guest: Guest::from_json(&read(guest)?)?,
        })
    }
}

impl Platform for SimulatedPlatform {
    fn format(&self) -> EvidenceFormat {
        EvidenceFormat::SimulatedAmdSevSnp
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        let malformed = |error: snp_simulator::SimError| PlatformError::Malformed(error.to_string());
        let vek = self.processor.vek_der().to_vec();
        let vek = match self.processor.signing_key() {
            SigningKey::Vcek => Vek::Vcek(vek),
            SigningKey::Vlek => Vek::Vlek(vek),
        };
        Ok(Evidence {
            format: self.format(),
            report: self.processor.report(&self.guest, report_data).map_err(malformed)?,
            endorsements: Endorsements {
                vek: Some(vek),
                ask: Some(self.processor.ask_der().to_vec()),
                asvk: Some(self.processor.asvk_der().to_vec()),
                ark: Some(self.processor.ark_der().to_vec()),
                crl: None,
            },
        })
    }
}
