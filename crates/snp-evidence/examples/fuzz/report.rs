//! Changes to reports: by field, by signature, and with a signature of the simulated processor over what must be zero.

use std::ops::Range;

use snp_simulator::{SecureProcessor, layout};

use crate::rng::Rng;

const FIELDS: &[Range<usize>] = &[
    layout::VERSION,
    layout::GUEST_SVN,
    layout::POLICY,
    layout::FAMILY_ID,
    layout::IMAGE_ID,
    layout::VMPL,
    layout::SIGNATURE_ALGO,
    layout::CURRENT_TCB,
    layout::PLATFORM_INFO,
    layout::KEY_INFO,
    layout::REPORT_DATA,
    layout::MEASUREMENT,
    layout::HOST_DATA,
    layout::ID_KEY_DIGEST,
    layout::AUTHOR_KEY_DIGEST,
    layout::REPORT_ID,
    layout::REPORT_ID_MA,
    layout::REPORTED_TCB,
    layout::CPUID,
    layout::CHIP_ID,
    layout::COMMITTED_TCB,
    layout::CURRENT_FIRMWARE,
    layout::COMMITTED_FIRMWARE,
    layout::LAUNCH_TCB,
    layout::LAUNCH_MIT_VECTOR,
    layout::CURRENT_MIT_VECTOR,
    layout::SIGNATURE_R,
    layout::SIGNATURE_S,
];

/// A report that was not made so.
pub(crate) fn mutate(report: &[u8], others: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = report.to_vec();
    match rng.below(6) {
        0 => rng.flip(&mut bytes),
        1 => {
            let field = rng_field(rng);
            rng.fill(&mut bytes[field]);
        }
        2 => swap(&mut bytes, rng),
        3 => {
            let field = rng_field(rng);
            bytes[field.clone()].copy_from_slice(&rng.one(others)[field]);
        }
        4 => rng.resize(&mut bytes),
        _ => {
            for _ in 0..2 {
                let field = rng_field(rng);
                rng.flip(&mut bytes[field]);
            }
        }
    }
    bytes
}

fn rng_field(rng: &mut Rng) -> Range<usize> {
    rng.one(FIELDS).clone()
}

/// Two fields of one length change places, such as two TCBs.
fn swap(bytes: &mut [u8], rng: &mut Rng) {
    let first = rng_field(rng);
    let alike: Vec<_> = FIELDS.iter().filter(|field| field.len() == first.len()).cloned().collect();
    let second = rng.one(&alike).clone();
    let (one, other) = (bytes[first.clone()].to_vec(), bytes[second.clone()].to_vec());
    bytes[first].copy_from_slice(&other);
    bytes[second].copy_from_slice(&one);
}

/// Signed by the processor itself, but something is set that has to be zero: no signature makes that good.
pub(crate) fn reserved(report: &[u8], processor: &SecureProcessor, rng: &mut Rng) -> Vec<u8> {
    let mut body = report[..layout::BODY_LEN].to_vec();
    let bit = 1_u8 << rng.below(8);
    match rng.below(8) {
        // Guest policy, bits 26 to 63, then bit 17.
        0 => body[0x0C + rng.below(4)] |= bit,
        1 => body[0x0A] &= !2,
        // Key info, bits 5 to 31.
        2 => body[0x49 + rng.below(3)] |= bit,
        // The reserved bytes of a TCB on Turin, and those behind its chip id.
        3 => body[rng.one(&[0x38, 0x180, 0x1E0, 0x1F0]) + 4 + rng.below(3)] |= bit,
        4 => body[0x1A8 + rng.below(0x38)] |= bit,
        // Between the fields.
        5 => body[0x4C + rng.below(4)] |= bit,
        6 => body[0x18B + rng.below(0x15)] |= bit,
        _ => body[0x208 + rng.below(0x98)] |= bit,
    }
    processor.sign_body(&body).unwrap()
}
