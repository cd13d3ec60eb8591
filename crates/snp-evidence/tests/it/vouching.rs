//! Reports that commit to data of a paravisor's own.

use snp_evidence::{Policy, examine_vouching};

use crate::world::{Case, NOW, sha256};

/// `REPORT_DATA` as a paravisor has it signed, but for its last byte.
fn commit(body: &mut [u8], data: &[u8], last: u8) {
    body[0x50..0x70].copy_from_slice(&sha256(data));
    body[0x70..0x90].fill(0);
    body[0x8F] = last;
}

/// Whether a report with this body vouches for `data`, under the demanding policy with this rule.
fn refusal(body: fn(&mut [u8]), rule: &str) -> Option<&'static str> {
    let mut case = Case::new();
    case.body = body;
    case.policy("report_data = \"require\"", &format!("report_data = {rule}"));
    let any = case.asked.report_data_alone(b"", b"");
    let policy = Policy::parse(case.policy.as_bytes()).unwrap();
    let verdict = examine_vouching(&case.sign(&any), &case.roots, &policy, b"data", NOW);
    verdict.err().map(|refusal| refusal.reason())
}

#[test]
fn report_data_has_to_be_the_digest_and_zeros_whatever_the_policy_says() {
    for rule in ["\"require\"", "{ off = \"test\" }"] {
        assert_eq!(refusal(|body| commit(body, b"data", 0), rule), None);
        let others: [fn(&mut [u8]); 4] = [
            |body| commit(body, b"other", 0),
            |body| commit(body, b"", 0),
            |body| commit(body, b"data", 1),
            |body| body[0x50..0x90].fill(0),
        ];
        for other in others {
            assert_eq!(refusal(other, rule), Some("report_data"));
        }
    }
}
