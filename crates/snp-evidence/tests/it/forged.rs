//! One forgery per check: each is signed by the simulated processor, so that only its own check can object.

#![expect(
    clippy::assigning_clones,
    clippy::semicolon_if_nothing_returned,
    reason = "a forgery is one assignment"
)]

use std::collections::BTreeSet;

use snp_evidence::{CheckResult, EvidenceFormat, Purpose, RefusalClass, TrustRoots, UnixTime, Vek};
use snp_simulator::Tcb;

use crate::world::{Case, ROOT, TCB, chip};

type Forgery = (&'static str, RefusalClass, fn(&mut Case));

use RefusalClass::{Channel, Collateral, Evidence, Policy};

const LOWER: Option<Tcb> = Some(Tcb { microcode: 199, ..TCB });
const HIGHER: Option<Tcb> = Some(Tcb { microcode: 201, ..TCB });

const FORGERIES: &[Forgery] = &[
    ("bundle.structure", Evidence, |c| c.json = |json| json.replace("\"v\":1,", "\"v\":1,\"extra\":1,")),
    ("bundle.purpose", Channel, |c| c.asked.purpose = Purpose::Cached),
    ("bundle.nonce", Channel, |c| c.asked.nonce = [9; 32]),
    ("bundle.binding", Channel, |c| c.asked.binder.leaf_spki_sha256 = [9; 32]),
    ("bundle.binding", Channel, |c| c.asked.binder.listener = "gateway/other".to_owned()),
    ("bundle.tree", Channel, |c| c.tree = snp_evidence::TreePosition::new(1, 1, &[])),
    ("bundle.tree", Channel, |c| c.tree = snp_evidence::TreePosition::new(1, 0, &[[0; 48]])),
    ("evidence.format", Evidence, |c| c.evidence = |e| e.format = EvidenceFormat::AmdSevSnp),
    ("evidence.format", Evidence, |c| c.roots = TrustRoots::amd()),
    ("report.structure", Evidence, |c| c.body = |b| b[0x4C] = 1),
    ("report.structure", Evidence, |c| c.body = |b| b[0] = 6),
    ("report.structure", Evidence, |c| c.guest.policy &= !(1 << 17)),
    ("report.structure", Evidence, |c| c.guest.policy |= 1 << 26),
    ("report_version", Policy, |c| {
        c.policy("report_version = { allow = [3, 5] }", "report_version = { allow = [3] }")
    }),
    ("report.signing_key", Evidence, |c| c.guest.key_info = Some(1 | 2)),
    ("report.signing_key", Evidence, |c| c.guest.key_info = Some(1 | 7 << 2)),
    ("report.signing_key", Evidence, |c| c.guest.key_info = Some(1 | 1 << 2)),
    ("collateral.vek", Collateral, |c| c.evidence = |e| e.endorsements.vek = None),
    ("report.product", Evidence, |c| c.body = |b| b[0x189] = 0x50),
    ("report.tcb_reserved", Evidence, |c| c.body = |b| b[0x1F4] = 1),
    ("chain.offered_ca", Evidence, |c| c.evidence = |e| e.endorsements.ark = e.endorsements.ask.clone()),
    ("chain.offered_ca", Evidence, |c| c.evidence = |e| e.endorsements.ask = Some(Vec::new())),
    ("collateral.asvk", Collateral, |c| {
        vlek(c);
        c.evidence = |e| e.endorsements.asvk = None;
    }),
    ("chain.pinned_root", Evidence, |c| c.body = as_genoa),
    ("chain.form", Evidence, |c| c.evidence = |e| edit_vek(e, |der| der.push(0))),
    // The last byte of the inner signature algorithm: salt length 48.
    ("chain.form", Evidence, |c| {
        c.evidence = |e| edit_vek(e, |der| replace(der, b"\xA2\x03\x02\x01\x30", b"\xA2\x03\x02\x01\x20"))
    }),
    ("chain.names", Evidence, |c| c.evidence = |e| edit_vek(e, |der| replace(der, b"SEV-VCEK", b"SEV-VCEX"))),
    ("chain.dates", Evidence, |c| c.now = UnixTime(c.now.0 + 40 * 365 * 86_400)),
    ("chain.dates", Evidence, |c| c.now = UnixTime(c.now.0 - 86_400)),
    ("chain.signatures", Evidence, |c| c.evidence = |e| edit_vek(e, |der| *der.last_mut().unwrap() ^= 1)),
    ("vek.tcb", Evidence, |c| c.guest.reported_tcb = HIGHER),
    ("vek.hwid", Evidence, |c| c.body = |b| b[0x1A0] ^= 1),
    ("vek.hwid", Evidence, |c| c.body = |b| b[0x1A8] = 1),
    ("report.signature_algorithm", Evidence, |c| c.guest.signature_algo = 2),
    ("report.signature", Evidence, |c| c.evidence = |e| e.report[0x90] ^= 1),
    ("report.signature", Evidence, |c| c.evidence = |e| e.report[0x2A0] ^= 1),
    ("report_data", Channel, |c| c.asked.binder.exporter = Some([9; 32])),
    ("report_data", Channel, |c| c.body = |b| b[0x50] ^= 1),
    ("product", Policy, |c| c.policy("chips = [\"0101010101010101\"]", "chips = []")),
    ("product", Policy, vlek),
    ("guest_policy.debug", Policy, |c| {
        c.guest.policy |= 1 << 19;
        c.claims.dbgstat = snp_evidence::DebugStatus::Enabled;
    }),
    ("guest_policy.migration_agent", Policy, |c| c.guest.policy |= 1 << 18),
    ("guest_policy.smt", Policy, |c| c.guest.policy |= 1 << 16),
    ("guest_policy.single_socket", Policy, |c| c.guest.policy &= !(1 << 20)),
    ("guest_policy.abi", Policy, |c| c.guest.policy -= 1),
    ("guest_policy.features", Policy, |c| c.guest.policy &= !(1 << 24)),
    ("guest_policy.features", Policy, |c| c.guest.policy |= 1 << 21),
    ("vmpl", Policy, |c| c.guest.vmpl = 0),
    ("tcb.reported", Policy, |c| {
        c.policy("reported = { minimum = { turin = { fmc = 1", "reported = { minimum = { turin = { fmc = 2")
    }),
    ("tcb.committed", Policy, |c| c.guest.committed_tcb = LOWER),
    ("tcb.launch", Policy, |c| c.guest.launch_tcb = LOWER),
    ("tcb.current", Policy, |c| c.guest.current_tcb = LOWER),
    ("tcb.committed_is_current", Policy, |c| c.guest.current_tcb = HIGHER),
    ("tcb.committed_is_current", Policy, |c| c.guest.current_firmware.build += 1),
    ("tcb.ordered", Policy, |c| c.guest.launch_tcb = HIGHER),
    ("firmware_version", Policy, |c| {
        c.guest.current_firmware.build -= 1;
        c.guest.committed_firmware.build -= 1;
    }),
    ("platform_info", Policy, |c| c.guest.platform_info = 0x05),
    ("platform_info", Policy, |c| c.guest.platform_info |= 1 << 7),
    ("platform_info", Policy, |c| c.guest.platform_info |= 1 << 40),
    ("mitigations", Policy, |c| c.guest.launch_mit_vector = 2),
    // Larger as a number, but without the bit.
    ("mitigations", Policy, |c| c.guest.current_mit_vector = 8),
    ("id_key", Policy, |c| c.guest.id_key_digest = [9; 48]),
    ("author_key", Policy, |c| c.guest.author_key_digest = [9; 48]),
    ("author_key", Policy, |c| c.guest.key_info = Some(0)),
    ("family_id", Policy, |c| c.guest.family_id = [9; 16]),
    ("image_id", Policy, |c| c.guest.image_id = [9; 16]),
    ("guest_svn", Policy, |c| c.guest.guest_svn = 2),
    ("report_id_ma", Policy, |c| c.guest.report_id_ma[31] = 0),
    ("measurement", Policy, |c| c.guest.measurement[47] ^= 1),
    ("host_data", Policy, |c| c.guest.host_data[31] ^= 1),
    ("vlek.csp", Policy, |c| {
        vlek(c);
        c.policy("allow = \"chips\"\nchips = [\"0101010101010101\"]", "allow = \"any\"\nreason = \"test\"");
        c.policy("CN=cc-us-east-2.example.com", "CN=another.example.com");
    }),
    ("crl", Collateral, |c| {
        c.policy("crl = { off = \"revocation lists are not read in this version\" }", "crl = \"require\"")
    }),
    ("gpu_evidence", Policy, |c| {
        c.policy("gpu_evidence = { off = \"no GPU evidence is judged\" }", "gpu_evidence = \"require\"")
    }),
    ("manifest.structure", Evidence, |c| c.manifest.v = 2),
    ("manifest.structure", Evidence, |c| c.manifest.keys[0].sha256.0 = [9; 32]),
    ("claims.structure", Evidence, |c| c.claims.bootseed.0 = [9; 32]),
    ("claims.structure", Evidence, |c| c.claims.eat_profile = "urn:other".to_owned()),
    ("claims.structure", Evidence, |c| c.claims.dbgstat = snp_evidence::DebugStatus::Enabled),
    ("manifest.tls_key", Channel, |c| drop(c.manifest.keys.pop())),
    ("manifest.tls_key", Channel, |c| c.manifest.keys[1].listener = Some("gateway/other".to_owned())),
    ("manifest.tls_key", Channel, |c| c.manifest.keys[1].owner = c.manifest.keys[0].owner.clone()),
    ("manifest.tls_key", Channel, |c| {
        c.manifest.keys[1].owner = "spiffe://test.example/cvm/two/svc/gateway".to_owned()
    }),
    ("instance.identity", Policy, |c| {
        c.policy("identity = \"require\"", &format!("identity = {{ ca_spki = [\"{}\"] }}", "09".repeat(32)));
    }),
    ("instance.identity", Policy, |c| {
        c.policy("allow = \"chips\"\nchips = [\"0101010101010101\"]", "allow = \"any\"\nreason = \"test\"");
        c.policy = c
            .policy
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some((rule @ ("host_data" | "id_key"), _)) => format!("{rule} = {{ off = \"test\" }}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
    }),
];

/// The one core check that a signed forgery cannot reach on its own; see the test of its own below.
const ELSEWHERE: &str = "vek.form";

#[test]
fn each_forgery_is_refused_by_its_own_check() {
    for (index, (id, class, forge)) in FORGERIES.iter().enumerate() {
        let mut case = Case::new();
        forge(&mut case);
        let refusal = case.judge().map(drop).expect_err(id);
        assert_eq!((refusal.reason(), refusal.class()), (*id, *class), "forgery {index}: {refusal}");
    }
}

#[test]
fn every_check_has_a_forgery() {
    let verified = Case::new().judge().unwrap_or_else(|refusal| panic!("{refusal}"));
    let all: BTreeSet<_> = verified.checks().iter().map(|check| check.id).collect();
    let forged: BTreeSet<_> = FORGERIES.iter().map(|(id, ..)| *id).chain([ELSEWHERE]).collect();
    assert_eq!(all, forged);
    assert_eq!(all.len(), verified.checks().len(), "each check stands once");
}

#[test]
fn every_verdict_lists_every_check_once_and_passes_none_after_a_broken_core_check() {
    let all: Vec<_> = Case::new().judge().unwrap().checks().iter().map(|check| check.id).collect();
    for (id, class, forge) in FORGERIES {
        let mut case = Case::new();
        forge(&mut case);
        let refusal = case.judge().map(drop).expect_err(id);
        let listed: Vec<_> = refusal.checks().iter().map(|check| check.id).collect();
        assert_eq!(listed, all, "{id}");
        if matches!(class, Evidence | Collateral) {
            let mut after = refusal.checks().iter().skip_while(|check| check.id != *id);
            assert!(after.all(|check| check.result != CheckResult::Pass), "{id}");
        }
    }
}

/// Its own finding is told even though the damage breaks the VEK's signature first.
#[test]
fn a_vek_of_another_form_is_refused() {
    type Damage = fn(&mut snp_evidence::Evidence);
    let damages: [(&str, Damage); 5] = [
        ("P-384 key for Tufin", |e| edit_vek(e, |der| replace(der, b"\x16\x05Turin", b"\x16\x05Tufin"))),
        ("no P-384 key", |e| {
            edit_vek(e, |der| replace(der, b"\x2B\x81\x04\x00\x22", b"\x2B\x81\x04\x00\x23"))
        }),
        ("AMD extension tee is missing", |e| {
            edit_vek(e, |der| replace(der, b"\x9C\x78\x01\x03\x02", b"\x9C\x78\x01\x03\x7F"))
        }),
        ("AMD extension snp stands twice", |e| {
            edit_vek(e, |der| replace(der, b"\x9C\x78\x01\x03\x09", b"\x9C\x78\x01\x03\x03"))
        }),
        ("AMD extension microcode is not DER of its type", |e| {
            edit_vek(e, |der| replace(der, b"\x02\x02\x00\xC8", b"\x02\x02\x00\x48"))
        }),
    ];
    for (observed, damage) in damages {
        let mut case = Case::new();
        case.evidence = damage;
        let refusal = case.judge().map(drop).unwrap_err();
        assert_eq!(refusal.reason(), "chain.signatures");
        let own = refusal.checks().iter().find(|check| check.id == ELSEWHERE).unwrap();
        assert_eq!((own.result, own.observed.as_str()), (CheckResult::Fail, observed));
    }
}

#[test]
fn a_listed_provider_may_sign_by_vlek_where_any_chip_is_accepted() {
    let mut case = Case::new();
    vlek(&mut case);
    case.policy("allow = \"chips\"\nchips = [\"0101010101010101\"]", "allow = \"any\"\nreason = \"test\"");
    case.judge().unwrap_or_else(|refusal| panic!("{refusal}"));
}

#[test]
fn the_cvms_own_ca_identifies_it_where_the_policy_lists_its_key() {
    let mut case = Case::new();
    let ca = hex::encode(crate::world::sha256(b"ca"));
    case.policy("identity = \"require\"", &format!("identity = {{ ca_spki = [\"{ca}\"] }}"));
    case.judge().unwrap_or_else(|refusal| panic!("{refusal}"));
}

fn vlek(case: &mut Case) {
    case.processor = Some(ROOT.make_vlek_processor(&chip(1, TCB), "CN=cc-us-east-2.example.com").unwrap());
}

/// A product whose roots the verifier was not given.
fn as_genoa(body: &mut [u8]) {
    body[0x188..0x18A].copy_from_slice(&[0x19, 0x11]);
    for tcb in [0x38, 0x180, 0x1E0, 0x1F0] {
        body[tcb..tcb + 8].fill(0);
    }
}

fn edit_vek(evidence: &mut snp_evidence::Evidence, edit: fn(&mut Vec<u8>)) {
    if let Some(Vek::Vcek(der) | Vek::Vlek(der)) = &mut evidence.endorsements.vek {
        edit(der);
    }
}

/// The first occurrence, which must be there.
fn replace(der: &mut [u8], from: &[u8], to: &[u8]) {
    let at = der.windows(from.len()).position(|window| window == from).unwrap();
    der[at..at + to.len()].copy_from_slice(to);
}
