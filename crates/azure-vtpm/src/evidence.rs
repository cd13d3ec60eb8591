//! What an Azure guest hands over, and what the verifier asked it.

use snp_evidence::Endorsements;

/// The longest nonce, bytes: what a TPM takes as `qualifyingData` at its largest digest.
const MAX_NONCE: usize = 64;

/// Everything as collected. All of it is untrusted until a check has looked at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureEvidence {
    /// The paravisor's report, vTPM NV index 0x01400001, whole or without the zeros at its end.
    pub hcl_report: Vec<u8>,
    /// A copy of the runtime data that came beside the report. It has to equal the one inside.
    pub runtime_data: Option<Vec<u8>>,
    /// `TPMS_ATTEST` that `TPM2_Quote` returned, with or without the length of a `TPM2B_ATTEST` before it.
    pub quote: Vec<u8>,
    /// The quote's RSASSA-SHA256 signature, bare or as `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// PCR values that the quote may be over, as JSON: 24 strings of 64 hex digits, PCR 0 first.
    pub pcrs: Option<Vec<u8>>,
    /// AMD's certificates for the SNP report.
    pub endorsements: Endorsements,
}

/// The verifier's own random challenge. Never empty: everything else here may be as old as the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

/// Why bytes are no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nonce is {0} bytes, need 1 to {MAX_NONCE}: only the quote over your own nonce is fresh")]
pub struct NonceError(pub usize);

impl Nonce {
    /// 1 to 64 bytes, which the verifier drew itself. Fewer than 16 can be guessed beforehand.
    pub fn new(bytes: &[u8]) -> Result<Self, NonceError> {
        if bytes.is_empty() || bytes.len() > MAX_NONCE {
            return Err(NonceError(bytes.len()));
        }
        Ok(Self(bytes.to_vec()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
