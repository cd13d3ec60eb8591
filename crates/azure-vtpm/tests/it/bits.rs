//! No single bit of accepted evidence may change without refusal.

use azure_vtpm::{AzureEvidence, Nonce, appraise};
use snp_evidence::Policy;

use crate::world::{Case, NONCE, NOW, roots};

type Part = fn(&mut AzureEvidence) -> &mut Vec<u8>;

/// Parts, and which of their bits are tried: of the long ones a bit of every byte, to bound the time.
const PARTS: [(&str, Part, usize); 4] = [
    ("paravisor's report", |e| &mut e.hcl_report, 7),
    ("runtime data", |e| e.runtime_data.as_mut().unwrap(), 7),
    ("quote", |e| &mut e.quote, 1),
    ("signature", |e| &mut e.signature, 1),
];

#[test]
fn flipped_bits_are_refused() {
    let case = Case::new();
    let policy = Policy::parse(case.policy.as_bytes()).unwrap();
    let (roots, nonce, genuine) = (roots(), Nonce::new(NONCE).unwrap(), case.make());
    assert!(appraise(&genuine, &roots, &policy, &nonce, NOW).is_ok());
    for (name, part, step) in PARTS {
        let bits = 8 * part(&mut genuine.clone()).len();
        for bit in (0..bits).step_by(step) {
            let mut flipped = genuine.clone();
            part(&mut flipped)[bit / 8] ^= 1 << (bit % 8);
            let verdict = appraise(&flipped, &roots, &policy, &nonce, NOW);
            assert!(verdict.is_err(), "bit {} of byte {:#x} of the {name} may be flipped", bit % 8, bit / 8);
        }
    }
}
