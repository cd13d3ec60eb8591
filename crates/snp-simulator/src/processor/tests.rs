mod genuine;

use std::{ops::Range, sync::OnceLock};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use serde_json::Value;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, Pem, X509Certificate};

use super::*;
use crate::{FirmwareVersion, ReportVersion, SimulatedRoot, root::ROOT_LIFETIME};

const NOW: i64 = 1_790_000_000;

#[test]
fn every_field_stands_where_the_abi_puts_it() {
    let chip = chip(Product::Genoa);
    let guest = Guest {
        version: ReportVersion::V5,
        guest_svn: 0x0102_0304,
        policy: 0xB_0000,
        family_id: [0x10; 16],
        image_id: [0x20; 16],
        vmpl: 2,
        platform_info: 0x67,
        measurement: [0x90; 48],
        host_data: [0xC0; 32],
        id_key_digest: [0xE0; 48],
        author_key_digest: [0x11; 48],
        report_id: [0x14; 32],
        report_id_ma: [0x16; 32],
        current_tcb: Some(Tcb { fmc: 9, bootloader: 1, tee: 2, snp: 3, microcode: 4 }),
        reported_tcb: Some(Tcb { fmc: 9, bootloader: 5, tee: 6, snp: 7, microcode: 8 }),
        committed_tcb: Some(Tcb { fmc: 9, bootloader: 11, tee: 12, snp: 13, microcode: 14 }),
        launch_tcb: Some(Tcb { fmc: 9, bootloader: 15, tee: 16, snp: 17, microcode: 18 }),
        current_firmware: FirmwareVersion { major: 1, minor: 58, build: 3 },
        committed_firmware: FirmwareVersion { major: 1, minor: 57, build: 2 },
        launch_mit_vector: 0x0B,
        current_mit_vector: 0x3F,
        ..Guest::default()
    };
    let report = processor().report(&guest, &[0x50; 64]).unwrap();
    assert_eq!(report.len(), 1184);
    let expected: &[(usize, &[u8])] = &[
        (0x000, &[5, 0, 0, 0, 4, 3, 2, 1]),
        (0x008, &[0, 0, 0x0B, 0, 0, 0, 0, 0]),
        (0x010, &[0x10; 16]),
        (0x020, &[0x20; 16]),
        (0x030, &[2, 0, 0, 0, 1, 0, 0, 0]),
        (0x038, &[1, 2, 0, 0, 0, 0, 3, 4]),
        (0x040, &[0x67, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        (0x050, &[0x50; 64]),
        (0x090, &[0x90; 48]),
        (0x0C0, &[0xC0; 32]),
        (0x0E0, &[0xE0; 48]),
        (0x110, &[0x11; 48]),
        (0x140, &[0x14; 32]),
        (0x160, &[0x16; 32]),
        (0x180, &[5, 6, 0, 0, 0, 0, 7, 8, 0x19, 0x11, 1]),
        (0x18B, &[0; 21]),
        (0x1A0, &chip.chip_id),
        (0x1E0, &[11, 12, 0, 0, 0, 0, 13, 14, 3, 58, 1, 0, 2, 57, 1, 0]),
        (0x1F0, &[15, 16, 0, 0, 0, 0, 17, 18]),
        (0x1F8, &[0x0B, 0, 0, 0, 0, 0, 0, 0, 0x3F, 0, 0, 0, 0, 0, 0, 0]),
        (0x208, &[0; 0x2A0 - 0x208]),
        (0x2D0, &[0; 24]),
        (0x318, &[0; 24]),
        (0x330, &[0; 0x4A0 - 0x330]),
    ];
    for (at, bytes) in expected {
        assert_eq!(&&report[*at..at + bytes.len()], bytes, "at {at:#x}");
    }
}

#[test]
fn older_versions_leave_newer_fields_zero() {
    let guest = |version| Guest { version, launch_mit_vector: 1, current_mit_vector: 1, ..Guest::default() };
    let report = |version| processor().report(&guest(version), &[0; 64]).unwrap();
    assert_eq!(report(ReportVersion::V2)[layout::CPUID], [0; 3]);
    assert_eq!(report(ReportVersion::V3)[layout::CPUID], [0x19, 0x11, 1]);
    assert_eq!(report(ReportVersion::V4)[layout::LAUNCH_MIT_VECTOR], [0; 8]);
    assert_eq!(report(ReportVersion::V5)[layout::LAUNCH_MIT_VECTOR], [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn turin_has_its_own_tcb_layout_and_a_short_chip_id() {
    let tcb = Tcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 5 };
    assert_eq!(tcb.to_bytes(Product::Turin), [1, 2, 3, 4, 0, 0, 0, 5]);
    assert_eq!(tcb.to_bytes(Product::Milan), [2, 3, 0, 0, 0, 0, 4, 5]);
    let chip = ChipSpec::random(Product::Turin).unwrap();
    assert_ne!(chip.chip_id[..8], [0; 8]);
    assert_eq!(chip.chip_id[8..], [0; 56]);
}

#[test]
fn key_info_follows_the_key_unless_forged() {
    let key_info = |processor: &SecureProcessor, guest: &Guest| {
        processor.report(guest, &[0; 64]).unwrap()[layout::KEY_INFO][0]
    };
    let vlek = root().make_vlek_processor(&chip(Product::Genoa), "CN=cloud.example.com").unwrap();
    assert_eq!(key_info(processor(), &Guest::default()), 0);
    assert_eq!(key_info(&vlek, &Guest::default()), 0b100);
    assert_eq!(key_info(processor(), &Guest { key_info: Some(0b1_1110), ..Guest::default() }), 0b1_1110);
}

#[test]
fn masked_chip_id_is_zero() {
    let guest = Guest { mask_chip_id: true, ..Guest::default() };
    assert_eq!(processor().report(&guest, &[0; 64]).unwrap()[layout::CHIP_ID], [0; 64]);
}

#[test]
fn the_report_signature_holds_under_the_vcek() {
    let report = processor().report(&Guest::default(), &[7; 64]).unwrap();
    let certificate = parse(processor().vek_der());
    let key =
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &certificate.public_key().subject_public_key.data);
    let big_endian = |at: Range<usize>| report[at][..48].iter().rev().copied().collect::<Vec<_>>();
    let signature = [big_endian(layout::SIGNATURE_R), big_endian(layout::SIGNATURE_S)].concat();
    key.verify(&report[..layout::BODY_LEN], &signature).unwrap();
    assert!(key.verify(&[&report[1..layout::BODY_LEN], &[0]].concat(), &signature).is_err());
}

#[test]
fn forged_bodies_are_signed_as_they_are() {
    let body = [0xEE; layout::BODY_LEN];
    let report = processor().sign_body(&body).unwrap();
    assert_eq!(report[..layout::BODY_LEN], body);
    assert_eq!(report.len(), layout::REPORT_LEN);
    assert!(matches!(processor().sign_body(&body[1..]), Err(SimError::BodyLength(671))));
}

#[test]
fn the_chain_holds_from_the_ark_down() {
    let processor = processor();
    let vlek = root().make_vlek_processor(&chip(Product::Genoa), "CN=cloud.example.com").unwrap();
    assert_issued(processor.ark_der(), processor.ark_der());
    assert_issued(processor.ask_der(), processor.ark_der());
    assert_issued(processor.asvk_der(), processor.ark_der());
    assert_issued(processor.vek_der(), processor.ask_der());
    assert_issued(vlek.vek_der(), processor.asvk_der());
}

#[test]
fn certificates_live_as_long_as_the_root() {
    let processor = processor();
    for der in [processor.vek_der(), processor.ask_der(), processor.asvk_der(), processor.ark_der()] {
        let validity = parse(der).validity().clone();
        assert_eq!(validity.not_before.timestamp(), NOW);
        assert_eq!(validity.not_after.timestamp(), NOW + ROOT_LIFETIME);
    }
}

#[test]
fn names_say_simulated_role_and_product() {
    let processor = processor();
    for (der, role) in [
        (processor.ark_der(), "ARK-Genoa"),
        (processor.ask_der(), "SEV-Genoa"),
        (processor.asvk_der(), "SEV-VLEK-Genoa"),
        (processor.vek_der(), "SEV-VCEK"),
    ] {
        let subject = parse(der).subject().to_string();
        assert!(subject.contains(&format!("CN={role}")), "{subject}");
        assert!(subject.contains("OU=SIMULATED HARDWARE"), "{subject}");
    }
}

#[test]
fn the_vcek_names_chip_and_levels() {
    let certificate = parse(processor().vek_der());
    let value = |oid: &str| {
        let extension = certificate.extensions().iter().find(|it| it.oid.to_id_string() == oid).unwrap();
        extension.value.to_vec()
    };
    assert_eq!(value("1.3.6.1.4.1.3704.1.4"), processor().machine().chip.chip_id);
    assert_eq!(value("1.3.6.1.4.1.3704.1.2"), b"\x16\x05Genoa");
    assert_eq!(value("1.3.6.1.4.1.3704.1.3.1"), [2, 1, 10]);
    assert_eq!(value("1.3.6.1.4.1.3704.1.3.3"), [2, 1, 27]);
    assert_eq!(value("1.3.6.1.4.1.3704.1.3.8"), [2, 2, 0, 0xDB]);
    assert_eq!(certificate.raw_serial(), [0]);
}

#[test]
fn the_root_pem_holds_ark_ask_and_asvk() {
    let pem = root().root_pem();
    assert_eq!(pem, processor().root_pem());
    let blocks: Vec<_> = Pem::iter_from_buffer(pem.as_bytes()).map(|block| block.unwrap().contents).collect();
    assert_eq!(blocks, [processor().ark_der(), processor().ask_der(), processor().asvk_der()]);
}

#[test]
fn revocation_lists_are_signed_by_the_ark() {
    let der = root().crl(&[root().ask_serial()], NOW, NOW + 60).unwrap();
    let (rest, list) = CertificateRevocationList::from_der(&der).unwrap();
    assert!(rest.is_empty());
    let serials: Vec<_> = list.iter_revoked_certificates().map(|it| it.user_certificate.clone()).collect();
    assert_eq!(serials, [parse(processor().ask_der()).serial.clone()]);
    let ark = parse(processor().ark_der());
    rsa_key(&ark).verify(list.tbs_cert_list.as_ref(), &list.signature_value.data).unwrap();
    assert_eq!(list.issuer().as_raw(), ark.subject().as_raw());
}

#[test]
fn a_forged_vek_and_list_are_signed_as_they_are() {
    let older = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(3).rposition(|window| window == b"\x17\x0D2").unwrap();
        bytes[at + 2] = b'1';
    };
    let forged = root().reissue(processor(), older).unwrap();
    assert_issued(forged.vek_der(), processor().ask_der());
    assert_eq!(parse(forged.vek_der()).public_key(), parse(processor().vek_der()).public_key());
    let (forged, own) = (parse(forged.vek_der()).validity().not_after, parse(processor().vek_der()));
    assert!(forged < own.validity().not_after);

    let list = root().crl(&[], NOW, NOW + 60).unwrap();
    let der = root().reissue_crl(&list, older).unwrap();
    let list = CertificateRevocationList::from_der(&der).unwrap().1;
    let ark = parse(processor().ark_der());
    rsa_key(&ark).verify(list.tbs_cert_list.as_ref(), &list.signature_value.data).unwrap();
    assert!(list.next_update().unwrap().timestamp() < NOW);
}

#[test]
fn a_restarted_process_is_on_the_same_machine() {
    let stored = processor().to_json();
    let again = SecureProcessor::from_json(&stored).unwrap();
    assert_eq!(again.vek_der(), processor().vek_der());
    assert_eq!(again.machine().chip, processor().machine().chip);
    let report = again.report(&Guest::default(), &[1; 64]).unwrap();
    assert_eq!(
        report[..layout::BODY_LEN],
        processor().report(&Guest::default(), &[1; 64]).unwrap()[..layout::BODY_LEN]
    );
}

#[test]
fn neither_debug_nor_errors_show_the_private_key() {
    let stored = processor().to_json();
    let key = serde_json::from_str::<Value>(&stored).unwrap()["key_pkcs8"].as_str().unwrap().to_owned();
    assert!(!format!("{:?} {:?}", processor(), root()).contains(&key[20..40]));
    let error = SecureProcessor::from_json(&stored.replace("\"vcek\"", "\"??\"")).unwrap_err();
    assert!(!error.to_string().contains(&key[20..40]));
    assert!(error.to_string().contains("machine"), "{error}");
}

#[test]
fn guests_are_stored_as_strict_json() {
    let guest = Guest { measurement: [3; 48], vmpl: 1, reported_tcb: Some(TCB), ..Guest::default() };
    assert_eq!(Guest::from_json(&guest.to_json()).unwrap(), guest);
    assert_eq!(Guest::from_json("{}").unwrap(), Guest::default());
    assert!(Guest::from_json(r#"{"mesurement":"00"}"#).is_err());
    assert!(Guest::from_json(r#"{"host_data":"00"}"#).unwrap_err().to_string().contains("32 bytes"));
}

const TCB: Tcb = Tcb { fmc: 0, bootloader: 10, tee: 0, snp: 27, microcode: 0xDB };

/// RSA key generation is slow, so one root serves all tests.
fn root() -> &'static SimulatedRoot {
    static ROOT: OnceLock<SimulatedRoot> = OnceLock::new();
    ROOT.get_or_init(|| SimulatedRoot::generate(Product::Genoa, NOW).unwrap())
}

fn processor() -> &'static SecureProcessor {
    static PROCESSOR: OnceLock<SecureProcessor> = OnceLock::new();
    PROCESSOR.get_or_init(|| root().make_processor(&chip(Product::Genoa)).unwrap())
}

fn chip(product: Product) -> ChipSpec {
    ChipSpec { chip_id: [0xC1; 64], cpuid: product.cpuid(), tcb: TCB }
}

fn parse(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    certificate
}

fn rsa_key(certificate: &X509Certificate<'_>) -> UnparsedPublicKey<Vec<u8>> {
    let spki = certificate.public_key().subject_public_key.data.to_vec();
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, spki)
}

fn assert_issued(child: &[u8], issuer: &[u8]) {
    let (child, issuer) = (parse(child), parse(issuer));
    assert_eq!(child.issuer().as_raw(), issuer.subject().as_raw());
    assert_eq!(child.signature_algorithm, child.tbs_certificate.signature);
    rsa_key(&issuer).verify(child.tbs_certificate.as_ref(), &child.signature_value.data).unwrap();
}
