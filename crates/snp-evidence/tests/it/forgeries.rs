//! One forgery and more for each check. The simulated processor and its authorities sign them, so that nothing but
//! the check itself can object. Shared by the tests and by `cargo xtask conformance mutants`.
#![expect(
    clippy::assigning_clones,
    clippy::semicolon_if_nothing_returned,
    reason = "a forgery is one assignment"
)]

use snp_evidence::{DebugStatus, Evidence, EvidenceFormat, Purpose, RefusalClass, TrustRoots, UnixTime, Vek};
use snp_simulator::Tcb;

use crate::world::{Case, DAY, ROOT, TCB, chip, list};

use RefusalClass::{Channel, Malformed, OutOfPolicy, Stale, Unavailable, Untrusted};

/// The check that refuses it, how, and what is forged.
pub(crate) type Forgery = (&'static str, RefusalClass, fn(&mut Case));

const LOWER: Tcb = Tcb { microcode: 199, ..TCB };
const HIGHER: Tcb = Tcb { microcode: 201, ..TCB };

pub(crate) fn all() -> impl Iterator<Item = &'static Forgery> {
    BUNDLE.iter().chain(REPORT).chain(CERTIFICATES).chain(LISTS).chain(POLICY).chain(INSTANCE)
}

const BUNDLE: &[Forgery] = &[
    ("bundle.structure", Malformed, |c| c.json = |json| json.replace("\"v\":1,", "\"v\":1,\"extra\":1,")),
    // First what was really made for something else, then what only calls itself so.
    ("bundle.purpose", Channel, |c| c.asked.purpose = Purpose::Cached),
    ("bundle.purpose", Channel, |c| {
        c.json = |json| json.replace("\"purpose\":\"fresh\"", "\"purpose\":\"boot\"")
    }),
    ("bundle.nonce", Channel, |c| c.asked.nonce = [9; 32]),
    ("bundle.nonce", Channel, |c| c.json = |json| json.replace("\"nonce\":\"I", "\"nonce\":\"J")),
    ("bundle.binding", Channel, |c| c.asked.binder.leaf_spki_sha256 = [9; 32]),
    ("bundle.binding", Channel, |c| c.asked.binder.listener = "gateway/other".to_owned()),
    ("bundle.binding", Channel, |c| {
        c.json = |json| {
            json.replace("\"listener\":\"gateway/public\",\"leaf", "\"listener\":\"gateway/other\",\"leaf")
        }
    }),
    ("bundle.tree", Channel, |c| c.tree = snp_evidence::TreePosition::new(1, 1, &[])),
    ("bundle.tree", Channel, |c| c.tree = snp_evidence::TreePosition::new(1, 0, &[[0; 48]])),
];

const REPORT: &[Forgery] = &[
    ("evidence.format", Untrusted, |c| c.evidence = |e| e.format = EvidenceFormat::AmdSevSnp),
    ("evidence.format", Untrusted, |c| c.roots = TrustRoots::amd()),
    ("report.structure", Malformed, |c| c.body = |b| b[0x4C] = 1),
    ("report.structure", Malformed, |c| c.body = |b| b[0] = 1),
    ("report.structure", Malformed, |c| c.body = |b| b[0] = 6),
    ("report.structure", Malformed, |c| c.evidence = |e| e.report.push(0)),
    ("report.structure", Malformed, |c| c.guest.policy &= !(1 << 17)),
    ("report.structure", Malformed, |c| c.guest.policy |= 1 << 26),
    ("report.structure", Malformed, |c| c.guest.vmpl = 4),
    ("report.structure", Malformed, |c| c.guest.key_info = Some(1 | 1 << 5)),
    ("report.signing_key", Untrusted, |c| c.guest.key_info = Some(1 | 2)),
    ("report.signing_key", Untrusted, |c| c.guest.key_info = Some(1 | 7 << 2)),
    ("report.signing_key", Untrusted, |c| c.guest.key_info = Some(1 | 1 << 2)),
    ("report.product", Untrusted, |c| c.body = |b| b[0x189] = 0x50),
    ("report.product", Untrusted, |c| c.body = |b| b[0x188] = 0x17),
    ("report.product_reserved", Malformed, |c| c.body = |b| b[0x1F4] = 1),
    ("report.product_reserved", Malformed, |c| c.body = |b| b[0x1A8] = 1),
    ("report.signature_algorithm", Untrusted, |c| c.guest.signature_algo = 2),
    ("report.signature", Untrusted, |c| c.evidence = |e| e.report[0x90] ^= 1),
    ("report.signature", Untrusted, |c| c.evidence = |e| e.report[0x2A0] ^= 1),
    ("report_data", Channel, |c| c.asked.binder.exporter = Some([9; 32])),
    ("report_data", Channel, |c| c.body = |b| b[0x50] ^= 1),
];

const CERTIFICATES: &[Forgery] = &[
    ("collateral.vek", Unavailable, |c| c.evidence = |e| e.endorsements.vek = None),
    ("collateral.asvk", Unavailable, |c| {
        by_vlek(c);
        c.evidence = |e| (e.endorsements.asvk, e.endorsements.ask) = (None, None);
    }),
    ("chain.pinned_root", Untrusted, |c| {
        c.policy = crate::support::policy_text("cryptographic.toml");
        c.body = as_genoa;
        c.claims.hwmodel = "genoa".to_owned();
    }),
    ("chain.offered_ca", Untrusted, |c| c.evidence = |e| e.endorsements.ark = e.endorsements.ask.clone()),
    ("chain.offered_ca", Untrusted, |c| c.evidence = |e| e.endorsements.ask = Some(Vec::new())),
    ("chain.offered_ca", Untrusted, |c| {
        by_vlek(c);
        c.evidence = |e| e.endorsements.asvk = None;
    }),
    ("chain.signatures", Untrusted, |c| c.evidence = |e| edit_vek(e, |der| der.push(0))),
    // The salt length, 48, of the outer signature algorithm.
    ("chain.signatures", Untrusted, |c| {
        c.evidence = |e| edit_vek(e, |der| replace_last(der, SALT_48, SALT_32));
    }),
    ("chain.form", Malformed, |c| reissue(c, |tbs| replace_last(tbs, SALT_48, SALT_32))),
    // The id of an AMD extension, tagged as a BOOLEAN.
    ("chain.form", Malformed, |c| {
        reissue(c, |tbs| {
            replace(tbs, b"\x06\x0A\x2B\x06\x01\x04\x01\x9C\x78", b"\x01\x0A\x2B\x06\x01\x04\x01\x9C\x78");
        });
    }),
    // Version 2.
    ("chain.form", Malformed, |c| {
        reissue(c, |tbs| replace(tbs, b"\xA0\x03\x02\x01\x02", b"\xA0\x03\x02\x01\x01"))
    }),
    ("chain.names", Untrusted, |c| reissue(c, |tbs| replace(tbs, b"SEV-VCEK", b"SEV-VCEX"))),
    ("chain.names", Untrusted, |c| reissue(c, |tbs| replace(tbs, b"SEV-Turin", b"SEV-Tufin"))),
    ("chain.names", Untrusted, |c| reissue(c, |tbs| replace_last(tbs, b"Santa Clara", b"Santa Klara"))),
    ("chain.dates", Untrusted, |c| c.now = UnixTime(c.now.0 + 40 * 365 * DAY)),
    ("chain.dates", Untrusted, |c| c.now = UnixTime(c.now.0 - DAY)),
    // notAfter, the second date, years ago.
    ("chain.dates", Untrusted, |c| reissue(c, |tbs| replace_last(tbs, b"\x17\x0D26", b"\x17\x0D21"))),
    ("chain.signatures", Untrusted, |c| c.evidence = |e| edit_vek(e, |der| *der.last_mut().unwrap() ^= 1)),
    ("vek.form", Malformed, |c| reissue(c, |tbs| replace(tbs, b"\x16\x05Turin", b"\x16\x05Tufin"))),
    ("vek.form", Malformed, |c| {
        reissue(c, |tbs| replace(tbs, b"\x2B\x81\x04\x00\x22", b"\x2B\x81\x04\x00\x23"))
    }),
    ("vek.tcb", Untrusted, |c| certified_for(c, HIGHER)),
    ("vek.tcb", Untrusted, |c| certified_for(c, LOWER)),
    ("vek.tcb", Untrusted, |c| certified_for(c, Tcb { fmc: 2, ..TCB })),
    ("vek.tcb", Untrusted, |c| c.guest.reported_tcb = Some(HIGHER)),
    // The certificate is another chip's, or a provider's, and the report says it is of the listed one.
    ("vek.hwid", Untrusted, |c| {
        c.processor = Some(ROOT.make_processor(&chip(2, TCB)).unwrap());
        c.body = |b| b[0x1A0..0x1A8].fill(1);
    }),
    ("vek.hwid", Untrusted, |c| c.body = |b| b[0x1A0] ^= 1),
    ("vek.hwid", Untrusted, |c| c.guest.mask_chip_id = true),
    ("vek.hwid", Untrusted, |c| reissue(c, |tbs| replace(tbs, b"\x9C\x78\x01\x04", b"\x9C\x78\x01\x06"))),
];

/// Each of these lists is the ARK's own, but for the one that is damaged.
const LISTS: &[Forgery] = &[
    ("crl", Unavailable, |c| c.evidence = |e| e.endorsements.crl = None),
    ("crl.signature", Untrusted, |c| c.evidence = |e| edit_list(e, |der| der.push(0))),
    ("crl.form", Malformed, |c| c.evidence = |e| e.endorsements.crl = e.endorsements.ark.clone()),
    // Delta CRL indicator and issuing distribution point in the place of the CRL number.
    ("crl.form", Malformed, |c| {
        c.evidence = |e| relist(e, |tbs| replace(tbs, b"\x55\x1D\x14", b"\x55\x1D\x1B"))
    }),
    ("crl.form", Malformed, |c| {
        c.evidence = |e| relist(e, |tbs| replace(tbs, b"\x55\x1D\x14", b"\x55\x1D\x1C"))
    }),
    // The id of the list's number, tagged as a BOOLEAN.
    ("crl.form", Malformed, |c| {
        c.evidence = |e| relist(e, |tbs| replace(tbs, b"\x06\x03\x55\x1D\x14", b"\x01\x03\x55\x1D\x14"))
    }),
    ("crl.form", Malformed, |c| c.evidence = |e| relist(e, |tbs| replace_last(tbs, SALT_48, SALT_32))),
    ("crl.issuer", Untrusted, |c| c.evidence = |e| relist(e, |tbs| replace(tbs, b"ARK-Turin", b"ARK-Genoa"))),
    ("crl.issuer", Untrusted, |c| c.evidence = |e| relist(e, |tbs| replace(tbs, b"ARK-Turin", b"SEV-Turin"))),
    ("crl.signature", Untrusted, |c| c.evidence = |e| edit_list(e, |der| *der.last_mut().unwrap() ^= 1)),
    ("crl.revoked", Untrusted, |c| {
        c.evidence = |e| e.endorsements.crl = Some(list(&[1, ROOT.ask_serial()], -60, DAY))
    }),
    ("crl.revoked", Untrusted, |c| {
        c.evidence = |e| e.endorsements.crl = Some(list(&[ROOT.ask_serial() - 1], -60, DAY))
    }),
    ("crl.revoked", Untrusted, |c| {
        by_vlek(c);
        c.evidence = |e| e.endorsements.crl = Some(list(&[ROOT.asvk_serial()], -60, DAY));
    }),
    ("crl.dates", Stale, |c| c.evidence = |e| e.endorsements.crl = Some(list(&[], -2 * DAY, -1))),
    ("crl.dates", Stale, |c| c.evidence = |e| e.endorsements.crl = Some(list(&[], 1, DAY))),
    ("crl.dates", Stale, |c| {
        c.policy("crl = \"require\"", "crl = { stale_days = 3 }");
        c.evidence = |e| e.endorsements.crl = Some(list(&[], -9 * DAY, -3 * DAY - 1));
    }),
];

const POLICY: &[Forgery] = &[
    ("report_version", OutOfPolicy, |c| {
        c.policy("report_version = { allow = [3, 5] }", "report_version = { allow = [3] }")
    }),
    ("product", OutOfPolicy, |c| c.policy("chips = [\"0101010101010101\"]", "chips = []")),
    ("product", OutOfPolicy, vlek),
    ("guest_policy.debug", OutOfPolicy, |c| {
        c.guest.policy |= 1 << 19;
        c.claims.dbgstat = DebugStatus::Enabled;
    }),
    ("guest_policy.migration_agent", OutOfPolicy, |c| c.guest.policy |= 1 << 18),
    ("guest_policy.smt", OutOfPolicy, |c| c.guest.policy |= 1 << 16),
    ("guest_policy.single_socket", OutOfPolicy, |c| c.guest.policy &= !(1 << 20)),
    ("guest_policy.abi", OutOfPolicy, |c| c.guest.policy -= 1),
    ("guest_policy.features", OutOfPolicy, |c| c.guest.policy &= !(1 << 24)),
    ("guest_policy.features", OutOfPolicy, |c| c.guest.policy |= 1 << 21),
    ("vmpl", OutOfPolicy, |c| c.guest.vmpl = 0),
    ("vmpl", OutOfPolicy, |c| c.guest.vmpl = u32::MAX),
    ("tcb.reported", OutOfPolicy, |c| raise(c, "reported")),
    ("tcb.committed", OutOfPolicy, |c| raise(c, "committed")),
    ("tcb.launch", OutOfPolicy, |c| raise(c, "launch")),
    ("tcb.current", OutOfPolicy, |c| raise(c, "current")),
    ("tcb.committed", OutOfPolicy, |c| c.guest.committed_tcb = Some(LOWER)),
    ("tcb.launch", OutOfPolicy, |c| c.guest.launch_tcb = Some(LOWER)),
    ("tcb.current", OutOfPolicy, |c| c.guest.current_tcb = Some(LOWER)),
    ("tcb.committed_is_current", OutOfPolicy, |c| c.guest.current_tcb = Some(HIGHER)),
    ("tcb.committed_is_current", OutOfPolicy, |c| c.guest.current_firmware.build += 1),
    ("tcb.ordered", OutOfPolicy, |c| c.guest.launch_tcb = Some(HIGHER)),
    ("tcb.ordered", OutOfPolicy, |c| {
        without_floors(c);
        c.guest.committed_tcb = Some(LOWER);
    }),
    ("tcb.ordered", OutOfPolicy, |c| {
        without_floors(c);
        (c.guest.current_tcb, c.guest.launch_tcb) = (Some(LOWER), Some(LOWER));
    }),
    ("tcb.ordered", OutOfPolicy, |c| {
        without_floors(c);
        c.guest.current_firmware.build -= 1;
    }),
    ("firmware_version", OutOfPolicy, |c| {
        c.guest.current_firmware.build -= 1;
        c.guest.committed_firmware.build -= 1;
    }),
    ("firmware_version", OutOfPolicy, |c| {
        c.policy("minimum = \"1.55.61\"", "minimum = { genoa = \"1.55.61\" }")
    }),
    ("platform_info", OutOfPolicy, |c| c.guest.platform_info = 0x05),
    ("platform_info", OutOfPolicy, |c| c.guest.platform_info |= 1 << 7),
    ("platform_info", OutOfPolicy, |c| c.guest.platform_info |= 1 << 40),
    ("mitigations", OutOfPolicy, |c| c.guest.launch_mit_vector = 2),
    // Larger as a number, but without the bit.
    ("mitigations", OutOfPolicy, |c| c.guest.current_mit_vector = 8),
    ("mitigations", OutOfPolicy, |c| c.guest.version = snp_simulator::ReportVersion::V3),
    ("id_key", OutOfPolicy, |c| c.guest.id_key_digest = [9; 48]),
    ("author_key", OutOfPolicy, |c| c.guest.author_key_digest = [9; 48]),
    ("author_key", OutOfPolicy, |c| c.guest.key_info = Some(0)),
    ("family_id", OutOfPolicy, |c| c.guest.family_id = [9; 16]),
    ("image_id", OutOfPolicy, |c| c.guest.image_id = [9; 16]),
    ("guest_svn", OutOfPolicy, |c| c.guest.guest_svn = 2),
    ("report_id", OutOfPolicy, |c| c.guest.report_id = [9; 32]),
    ("report_id_ma", OutOfPolicy, |c| c.guest.report_id_ma[31] = 0),
    ("report_id_ma", OutOfPolicy, |c| {
        c.policy(
            "report_id_ma = \"forbid\"",
            &format!("report_id_ma = {{ allow = [\"{}\"] }}", "09".repeat(32)),
        )
    }),
    ("measurement", OutOfPolicy, |c| c.guest.measurement[47] ^= 1),
    ("host_data", OutOfPolicy, |c| c.guest.host_data[31] ^= 1),
    ("vlek.csp", OutOfPolicy, |c| {
        by_vlek(c);
        c.policy("CN=cc-us-east-2.example.com", "CN=another.example.com");
    }),
    ("gpu_evidence", OutOfPolicy, |c| {
        c.policy("gpu_evidence = { off = \"no GPU evidence is judged\" }", "gpu_evidence = \"require\"")
    }),
];

const INSTANCE: &[Forgery] = &[
    ("manifest.structure", Malformed, |c| c.manifest.v = 2),
    ("manifest.structure", Malformed, |c| c.manifest.keys[0].sha256.0 = [9; 32]),
    ("manifest.structure", Malformed, |c| c.manifest.version = 0),
    ("manifest.structure", Malformed, |c| c.manifest.version = 2),
    ("manifest.structure", Malformed, |c| c.manifest.prev = Some(snp_evidence::B64Url([9; 48]))),
    ("claims.structure", Malformed, |c| c.claims.bootseed.0 = [9; 32]),
    ("claims.structure", Malformed, |c| c.claims.eat_profile = "urn:other".to_owned()),
    ("claims.structure", Malformed, |c| c.claims.dbgstat = DebugStatus::Enabled),
    ("claims.structure", Malformed, |c| c.claims.oemid = 3705),
    ("claims.structure", Malformed, |c| c.claims.hwmodel = "genoa".to_owned()),
    ("manifest.tls_key", Channel, |c| drop(c.manifest.keys.pop())),
    ("manifest.tls_key", Channel, |c| c.manifest.keys[1].listener = Some("gateway/other".to_owned())),
    ("manifest.tls_key", Channel, |c| c.manifest.keys[1].owner = c.manifest.keys[0].owner.clone()),
    ("manifest.tls_key", Channel, |c| {
        c.manifest.keys[1].owner = "spiffe://test.example/cvm/two/svc/gateway".to_owned()
    }),
    ("instance.identity", OutOfPolicy, |c| {
        c.policy("identity = \"require\"", &format!("identity = {{ ca_spki = [\"{}\"] }}", "09".repeat(32)));
    }),
    ("instance.identity", OutOfPolicy, |c| {
        any_chip(c);
        switch_off(c, &["host_data", "id_key"]);
    }),
];

const SALT_48: &[u8] = b"\xA2\x03\x02\x01\x30";
const SALT_32: &[u8] = b"\xA2\x03\x02\x01\x20";

/// Signed by a cloud provider's key.
pub(crate) fn vlek(case: &mut Case) {
    case.processor = Some(ROOT.make_vlek_processor(&chip(1, TCB), "CN=cc-us-east-2.example.com").unwrap());
}

/// The same under a policy that does not insist on a chip.
pub(crate) fn by_vlek(case: &mut Case) {
    vlek(case);
    any_chip(case);
}

fn any_chip(case: &mut Case) {
    case.policy("allow = \"chips\"\nchips = [\"0101010101010101\"]", "allow = \"any\"\nreason = \"test\"");
}

/// A VEK that says something else, signed by its issuer.
pub(crate) fn reissue(case: &mut Case, edit: fn(&mut Vec<u8>)) {
    let genuine = ROOT.make_processor(&chip(1, TCB)).unwrap();
    case.processor = Some(ROOT.reissue(&genuine, edit).unwrap());
}

/// A VEK for one TCB, and a report of another.
fn certified_for(case: &mut Case, tcb: Tcb) {
    case.processor = Some(ROOT.make_processor(&chip(1, tcb)).unwrap());
    let guest = &mut case.guest;
    for level in
        [&mut guest.current_tcb, &mut guest.reported_tcb, &mut guest.committed_tcb, &mut guest.launch_tcb]
    {
        *level = Some(TCB);
    }
}

/// Only the order among TCBs and firmware versions is looked at, and what the key was made for.
fn without_floors(case: &mut Case) {
    switch_off(case, &["committed", "launch", "current", "committed_is_current"]);
}

fn switch_off(case: &mut Case, rules: &[&str]) {
    let line = |line: &str| match line.split_once(" = ") {
        Some((rule, _)) if rules.contains(&rule) => format!("{rule} = {{ off = \"test\" }}\n"),
        _ => format!("{line}\n"),
    };
    case.policy = case.policy.lines().map(line).collect();
}

fn raise(case: &mut Case, which: &str) {
    let floor = |fmc| format!("{which} = {{ minimum = {{ turin = {{ fmc = {fmc}");
    case.policy(&floor(1), &floor(2));
}

/// A product whose roots the verifier was not given.
fn as_genoa(body: &mut [u8]) {
    body[0x188..0x18A].copy_from_slice(&[0x19, 0x11]);
    for tcb in [0x38, 0x180, 0x1E0, 0x1F0] {
        body[tcb..tcb + 8].fill(0);
    }
}

fn edit_vek(evidence: &mut Evidence, edit: fn(&mut Vec<u8>)) {
    if let Some(Vek::Vcek(der) | Vek::Vlek(der)) = &mut evidence.endorsements.vek {
        edit(der);
    }
}

fn edit_list(evidence: &mut Evidence, edit: fn(&mut Vec<u8>)) {
    edit(evidence.endorsements.crl.as_mut().unwrap());
}

/// A list that says something else, signed by the ARK.
pub(crate) fn relist(evidence: &mut Evidence, edit: fn(&mut Vec<u8>)) {
    let genuine = evidence.endorsements.crl.take().unwrap();
    evidence.endorsements.crl = Some(ROOT.reissue_crl(&genuine, edit).unwrap());
}

/// The first occurrence, which must be there.
pub(crate) fn replace(der: &mut [u8], from: &[u8], to: &[u8]) {
    let at = der.windows(from.len()).position(|window| window == from).unwrap();
    der[at..at + to.len()].copy_from_slice(to);
}

/// The last one.
pub(crate) fn replace_last(der: &mut [u8], from: &[u8], to: &[u8]) {
    let at = der.windows(from.len()).rposition(|window| window == from).unwrap();
    der[at..at + to.len()].copy_from_slice(to);
}
