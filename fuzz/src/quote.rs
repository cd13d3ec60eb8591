//! A vTPM's quote: whatever its key signs, only a quote over the verifier's nonce and PCRs of one bank is accepted.

use azure_vtpm::AzureEvidence;

use crate::{
    azure::AZURE,
    guest::{AK, NONCE, sign},
    seeds,
};

pub fn seed() {
    seeds::write(seeds::captured("tpm_quote.msg").into_iter().chain([AZURE.genuine.quote.clone()]));
}

pub fn run(data: &[u8]) {
    let message = unwrapped(data);
    let unsigned = AzureEvidence { quote: data.to_vec(), ..AZURE.genuine.clone() };
    match AZURE.judge(&unsigned) {
        Ok(_) => assert_eq!(message, AZURE.genuine.quote),
        Err(refusal) if crate::machine::objects(refusal.checks(), "azure.quote") => return,
        Err(_) => {}
    }
    let signed = AzureEvidence { signature: sign(&AK, message), ..unsigned };
    if AZURE.judge(&signed).is_ok() {
        assert!(is_quote_over_the_nonce(message));
    }
}

/// Without the length of a `TPM2B_ATTEST`.
fn unwrapped(data: &[u8]) -> &[u8] {
    let sized = data
        .split_at_checked(2)
        .filter(|(size, rest)| usize::from(u16::from_be_bytes([size[0], size[1]])) == rest.len());
    sized.map_or(data, |(_, rest)| rest)
}

/// `TPMS_ATTEST` of part 2 of the TPM 2.0 library, field by field.
fn is_quote_over_the_nonce(message: &[u8]) -> bool {
    let Some(rest) = message.strip_prefix(b"\xFFTCG\x80\x18") else { return false };
    let (_signer, rest) = sized(rest);
    let (extra_data, rest) = sized(rest);
    let (banks, rest) = rest[25..].split_at(4);
    let (selection, rest) = rest.split_at(6);
    let (_digest, rest) = sized(rest);
    extra_data == NONCE
        && banks == [0, 0, 0, 1]
        && selection.starts_with(&[0, 0x0B, 3])
        && selection[3..] != [0; 3]
        && rest.is_empty()
}

fn sized(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[2..].split_at(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}
