//! Forgeries by the check that has to refuse them. The simulated processor and vTPM sign them, so that nothing but the
//! check itself can object. Shared by the tests and by `cargo xtask conformance mutants`.

use crate::world::Case;

pub(crate) type Forgery = (&'static str, fn(&mut Case));

/// Refused by one check alone.
pub(crate) const FORGERIES: &[Forgery] = &[
    ("azure.hcl", |c| c.hcl = |b| b[0] = b'h'),
    ("azure.hcl", |c| c.hcl = |b| b[4] = 3),
    ("azure.hcl", |c| c.hcl = |b| b[8] ^= 1),
    // A request for a key release names another key.
    ("azure.hcl", |c| c.hcl = |b| b[12] = 1),
    ("azure.hcl", |c| c.hcl = |b| b[16] = 1),
    ("azure.hcl", |c| c.hcl = |b| b[31] = 1),
    ("azure.hcl", |c| c.hcl = |b| b[0x4C0] ^= 1),
    ("azure.hcl", |c| c.hcl = |b| b[0x4C4] = 3),
    ("azure.hcl", |c| c.hcl = |b| *b.last_mut().unwrap() = 1),
    ("azure.report_type", |c| c.hcl = |b| b[0x4C8] = 4),
    ("azure.report_type", |c| c.hcl = |b| b[0x4CC] = 2),
    ("azure.runtime_data", |c| c.second_ak()),
    ("azure.runtime_data_copy", |c| c.evidence = |e| e.runtime_data = Some(b"{}".to_vec())),
    ("azure.vmpl", |c| c.guest.vmpl = 1),
    ("azure.quote", |c| c.quote = |q| q.push(0)),
    ("azure.quote_type", |c| c.magic = 0xFF54_4348),
    ("azure.quote_type", |c| c.kind = 0x8017),
    ("azure.quote_signature", |c| c.signed_by_another_key()),
    ("azure.quote_signature", |c| c.evidence = |e| e.signature[0] ^= 1),
    ("azure.quote_signature", |c| c.evidence = |e| e.signature.clear()),
    ("azure.nonce", |c| c.extra_data = b"an older challenge".to_vec()),
    ("azure.nonce", |c| c.extra_data.push(0)),
    ("azure.nonce", |c| c.extra_data.clear()),
    ("azure.pcr_selection", |c| {
        c.selections = vec![(0x0004, vec![1, 0, 0])];
        c.evidence = |e| e.pcrs = None;
    }),
    ("azure.pcr_selection", |c| {
        c.selections = vec![(0x000B, vec![0, 0, 0])];
        c.evidence = |e| e.pcrs = None;
    }),
    ("azure.pcr_selection", |c| {
        c.selections = vec![(0x000B, vec![1, 0, 0]), (0x000C, vec![1, 0, 0])];
        c.evidence = |e| e.pcrs = None;
    }),
    ("azure.pcr_selection", |c| {
        c.selections = vec![];
        c.evidence = |e| e.pcrs = None;
    }),
    ("azure.pcr_values", |c| c.evidence = |e| e.pcrs.as_mut().unwrap()[3] ^= 1),
    ("azure.pcr_values", |c| c.evidence = |e| e.pcrs = Some(b"[]".to_vec())),
];

/// Refused by a check on which others rest, or by the SNP report's own.
pub(crate) const BROKEN: &[Forgery] = &[
    ("azure.hcl", |c| c.hcl = Vec::clear),
    ("azure.hcl", |c| c.hcl = |b| b.truncate(0x4C0)),
    ("azure.hcl", |c| c.hcl = |b| b[0x4D1] = 0xFF),
    ("azure.runtime_data", |c| c.json = |json| json.replace("HCLAkPub", "HCLOther")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("\"kty\":\"RSA\"", "\"kty\":\"EC\"")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("\"e\":\"AQAB\"", "\"e\":\"AQAB=\"")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("\"e\":", "\"x\":1,\"e\":")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("\"e\":", "\"kty\":\"RSA\",\"e\":")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("{\"keys\"", "{\"keys\":[],\"keys\"")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("{\"keys\"", "{\"other\":0,\"keys\"")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("\"secure-boot\":true", "\"secure-boot\":1")),
    ("azure.runtime_data", |c| c.json = |json| json.replace("\"vmUniqueId\"", "\"vmOther\"")),
    ("azure.runtime_data", |c| c.json = |json| format!("[{json}]")),
    ("azure.runtime_data", |c| c.json = |json| format!("{json} x")),
    ("azure.runtime_data", |c| c.json = |_| String::new()),
    ("report_data", |c| c.vouched = |v| v.push(b' ')),
    ("report.signature", |c| c.hcl = |b| b[0x20 + 0x90] ^= 1),
    ("report.structure", |c| c.hcl = |b| b[0x20] = 9),
    ("azure.quote", |c| c.quote = Vec::clear),
    ("azure.quote", |c| c.quote = |q| q.truncate(q.len() - 1)),
    ("azure.quote", |c| c.evidence = |e| e.quote.insert(0, 0)),
];
