//! One chip with its endorsement key.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use serde::{Deserialize, Serialize};

use crate::{
    Cpuid, Guest, Product, SimError, Tcb, certificate, layout,
    stored::{base64_bytes, hex_bytes},
};

/// What is particular to one chip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipSpec {
    /// `CHIP_ID`; on Turin only the first 8 bytes are an id, the rest must be zero.
    #[serde(with = "hex_bytes")]
    pub chip_id: [u8; 64],
    /// What CPUID says.
    pub cpuid: Cpuid,
    /// Firmware levels; the endorsement key is certified for these.
    pub tcb: Tcb,
}

impl ChipSpec {
    /// An ordinary chip of this product with a random id.
    pub fn random(product: Product) -> Result<Self, SimError> {
        let mut chip_id = [0; 64];
        let hwid = chip_id.get_mut(..product.hwid_len()).unwrap_or_default();
        aws_lc_rs::rand::fill(hwid).map_err(|_| SimError::Crypto("drawing a chip id"))?;
        Ok(Self { chip_id, cpuid: product.cpuid(), tcb: product.tcb() })
    }
}

/// Which kind of key signs reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningKey {
    /// Derived from the chip and its TCB, certified by the ASK.
    Vcek,
    /// Loaded by a cloud provider, certified by the ASVK; says nothing of the chip.
    Vlek,
}

/// A secure processor: the chip, its private endorsement key, and the certificates above it.
pub struct SecureProcessor {
    machine: Machine,
    key: EcdsaKeyPair,
}

/// What is stored, so that a restarted process is on the same machine.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) product: Product,
    pub(crate) chip: ChipSpec,
    pub(crate) signing_key: SigningKey,
    #[serde(with = "base64_bytes")]
    pub(crate) key_pkcs8: Vec<u8>,
    #[serde(with = "base64_bytes")]
    pub(crate) vek: Vec<u8>,
    #[serde(with = "base64_bytes")]
    pub(crate) ask: Vec<u8>,
    #[serde(with = "base64_bytes")]
    pub(crate) asvk: Vec<u8>,
    #[serde(with = "base64_bytes")]
    pub(crate) ark: Vec<u8>,
}

impl SecureProcessor {
    pub(crate) fn boot(machine: Machine) -> Result<Self, SimError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &machine.key_pkcs8)
            .map_err(|_| SimError::Crypto("loading the endorsement key"))?;
        Ok(Self { machine, key })
    }

    /// Answers `SNP_GUEST_REQUEST` / `MSG_REPORT_REQ`: 1184 bytes.
    pub fn report(&self, guest: &Guest, report_data: &[u8; 64]) -> Result<Vec<u8>, SimError> {
        let Machine { product, chip, signing_key, .. } = &self.machine;
        self.sign_body(&guest.body(*product, chip, *signing_key, report_data))
    }

    /// Signs any body of [`layout::BODY_LEN`] bytes, however wrong, and returns the whole report. For forgeries.
    pub fn sign_body(&self, body: &[u8]) -> Result<Vec<u8>, SimError> {
        if body.len() != layout::BODY_LEN {
            return Err(SimError::BodyLength(body.len()));
        }
        let signature =
            self.key.sign(&SystemRandom::new(), body).map_err(|_| SimError::Crypto("signing a report"))?;
        let mut report = body.to_vec();
        for number in signature.as_ref().chunks(certificate::P384_LEN) {
            report.extend(number.iter().rev());
            report.resize(report.len() + layout::SIGNATURE_R.len() - number.len(), 0);
        }
        report.resize(layout::REPORT_LEN, 0);
        Ok(report)
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The generation.
    pub fn product(&self) -> Product {
        self.machine.product
    }

    /// The chip.
    pub fn chip(&self) -> &ChipSpec {
        &self.machine.chip
    }

    /// Which kind of key signs, hence what [`Self::vek_der`] is.
    pub fn signing_key(&self) -> SigningKey {
        self.machine.signing_key
    }

    /// Certificate of the key that signs reports, a VCEK or a VLEK.
    pub fn vek_der(&self) -> &[u8] {
        &self.machine.vek
    }

    /// Certificate of the ASK.
    pub fn ask_der(&self) -> &[u8] {
        &self.machine.ask
    }

    /// Certificate of the ASVK.
    pub fn asvk_der(&self) -> &[u8] {
        &self.machine.asvk
    }

    /// Certificate of the ARK.
    pub fn ark_der(&self) -> &[u8] {
        &self.machine.ark
    }

    /// The three CA certificates in PEM, as [`crate::SimulatedRoot::root_pem`].
    pub fn root_pem(&self) -> String {
        [self.ark_der(), self.ask_der(), self.asvk_der()].map(certificate::pem).concat()
    }

    /// The machine as JSON. Holds the private key of the simulated chip: keep the file to its owner.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.machine).unwrap_or_default()
    }

    /// Starts the machine that [`Self::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, SimError> {
        // The parser's own message can quote a value, and a value here can be the key: only the place is told.
        let machine = serde_json::from_str(text).map_err(|why| SimError::Stored {
            what: "machine",
            why: format!("line {}, column {}", why.line(), why.column()),
        })?;
        Self::boot(machine)
    }
}

impl fmt::Debug for SecureProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecureProcessor")
            .field("product", &self.machine.product)
            .field("chip", &self.machine.chip)
            .field("signing_key", &self.machine.signing_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
