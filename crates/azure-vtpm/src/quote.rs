//! A vTPM quote: `TPMS_ATTEST` of type quote (TPM 2.0 library, part 2, 10.12), and its signature (11.3).

use crate::reader::{Reader, Short};

/// `TPM_GENERATED_VALUE`: a restricted key signs it only in what the TPM itself wrote.
const GENERATED: u32 = 0xFF54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const ATTEST_QUOTE: u16 = 0x8018;
/// `TPM_ALG_SHA256`.
const SHA256: u16 = 0x000B;
/// `TPM_ALG_RSASSA`.
const RSASSA: u16 = 0x0014;
/// Bytes of a bit map of 24 PCRs.
const PCR_MAP: usize = 3;

/// A quote, cut into its parts; nothing is judged.
pub(crate) struct Quote<'a> {
    /// What is signed.
    pub(crate) message: &'a [u8],
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) extra_data: &'a [u8],
    selections: Vec<(u16, &'a [u8])>,
    pub(crate) pcr_digest: &'a [u8],
    pub(crate) rest: &'a [u8],
}

impl<'a> Quote<'a> {
    /// The order of these fields is the layout.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Short> {
        let message = attest(bytes);
        let mut r = Reader(message);
        let (magic, kind) = (r.be32("magic")?, r.be16("type")?);
        r.sized("qualifiedSigner")?;
        let extra_data = r.sized("extraData")?;
        // Clock, reset and restart counts, whether the clock is safe; firmware version.
        r.bytes(8 + 4 + 4 + 1, "clockInfo")?;
        r.bytes(8, "firmwareVersion")?;
        let count = r.be32("pcrSelect")?;
        let selections = (0..count).map(|_| selection(&mut r)).collect::<Result<_, _>>()?;
        let pcr_digest = r.sized("pcrDigest")?;
        Ok(Self { message, magic, kind, extra_data, selections, pcr_digest, rest: r.0 })
    }

    /// Whether a TPM wrote it, and as a quote.
    pub(crate) fn is_quote(&self) -> bool {
        self.magic == GENERATED && self.kind == ATTEST_QUOTE
    }

    /// The quoted PCRs, where they are of the SHA-256 bank alone and one at least.
    pub(crate) fn pcrs(&self) -> Option<Vec<usize>> {
        let [(SHA256, map)] = self.selections.as_slice() else { return None };
        let selected = |pcr: &usize| map.get(pcr / 8).is_some_and(|byte| byte >> (pcr % 8) & 1 == 1);
        let pcrs: Vec<_> = (0..8 * PCR_MAP).filter(selected).collect();
        (map.len() == PCR_MAP && !pcrs.is_empty()).then_some(pcrs)
    }

    /// Banks and bit maps as they stand.
    pub(crate) fn selection(&self) -> String {
        let banks = self.selections.iter().map(|(bank, map)| format!("{bank:#06x}:{}", hex::encode(map)));
        banks.collect::<Vec<_>>().join(" ")
    }
}

/// `TPMS_PCR_SELECTION`.
fn selection<'a>(r: &mut Reader<'a>) -> Result<(u16, &'a [u8]), Short> {
    let bank = r.be16("pcrSelect")?;
    let [length] = r.array("pcrSelect")?;
    Ok((bank, r.bytes(length.into(), "pcrSelect")?))
}

/// Without the length of a `TPM2B_ATTEST`, which cannot be mistaken for the magic.
fn attest(bytes: &[u8]) -> &[u8] {
    let mut r = Reader(bytes);
    match r.sized("attestationData") {
        Ok(inside) if r.0.is_empty() => inside,
        Ok(_) | Err(_) => bytes,
    }
}

/// The bare signature by a key of `size` bytes, taken out of a `TPMT_SIGNATURE` if need be.
pub(crate) fn bare_signature(bytes: &[u8], size: usize) -> Option<&[u8]> {
    if bytes.len() == size {
        return Some(bytes);
    }
    let mut r = Reader(bytes);
    let scheme = (r.be16("sigAlg").ok()?, r.be16("hash").ok()?);
    let signature = r.sized("signature").ok()?;
    (scheme == (RSASSA, SHA256) && r.0.is_empty()).then_some(signature)
}
