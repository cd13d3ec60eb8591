use std::fs;

use snp_evidence::EvidenceFormat;
use tempfile::TempDir;

use crate::*;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQc=\n-----END CERTIFICATE-----\n";
const DER: &[u8] = &[0x30, 3, 2, 1, 7];

#[test]
fn missing_items_come_from_the_directory() {
    let directory = directory(&[
        ("vcek.der", DER),
        ("ask.pem", PEM.as_bytes()),
        ("asvk.pem", DER),
        ("ark.pem", b"AMD root\n-----BEGIN CERTIFICATE-----\nMAMCAQc=\n-----END CERTIFICATE-----\n"),
        ("crl.der", b"-----BEGIN X509 CRL-----\nMAMCAQc=\n-----END X509 CRL-----\n"),
    ]);
    let have = complete(evidence(VCEK), Some(directory.path())).unwrap().endorsements;
    let der = || Some(DER.to_vec());
    assert_eq!(
        have,
        Endorsements { vek: Some(Vek::Vcek(DER.to_vec())), ask: der(), asvk: der(), ark: der(), crl: der() }
    );
}

#[test]
fn what_the_evidence_brought_stays() {
    let directory = directory(&[("vcek.der", DER), ("vlek.der", DER), ("ask.pem", DER), ("ark.pem", DER)]);
    let mut given = evidence(VCEK);
    given.endorsements.vek = Some(Vek::Vlek(vec![0x30, 1]));
    given.endorsements.ask = Some(b"garbage".to_vec());
    let have = complete(given, Some(directory.path())).unwrap().endorsements;
    assert_eq!(have.vek, Some(Vek::Vlek(vec![0x30, 1])));
    assert_eq!(have.ask.as_deref(), Some(&b"garbage"[..]));
    assert_eq!(have.ark.as_deref(), Some(DER));
}

#[test]
fn the_report_says_which_endorsement_key_is_meant() {
    let both = directory(&[("vcek.der", &[0x30, 1]), ("vlek.der", &[0x30, 2])]);
    let vek = |flags, directory: &TempDir| {
        complete(evidence(flags), Some(directory.path())).unwrap().endorsements.vek
    };
    assert_eq!(vek(VCEK, &both), Some(Vek::Vcek(vec![0x30, 1])));
    assert_eq!(vek(VLEK, &both), Some(Vek::Vlek(vec![0x30, 2])));
    assert_eq!(vek(VLEK, &directory(&[("vcek.der", DER)])), Some(Vek::Vcek(DER.to_vec())));
    assert_eq!(vek(VCEK, &directory(&[("vlek.der", DER)])), Some(Vek::Vlek(DER.to_vec())));
}

#[test]
fn an_empty_directory_or_none_changes_nothing() {
    let empty = directory(&[]);
    assert_eq!(complete(evidence(VCEK), Some(empty.path())).unwrap(), evidence(VCEK));
    assert_eq!(complete(evidence(VCEK), None).unwrap(), evidence(VCEK));
}

#[test]
fn pem_from_the_host_becomes_der() {
    let mut given = evidence(VLEK);
    given.endorsements.vek = Some(Vek::Vlek(PEM.into()));
    given.endorsements.asvk = Some(PEM.into());
    let have = complete(given, None).unwrap().endorsements;
    assert_eq!(have.vek, Some(Vek::Vlek(DER.to_vec())));
    assert_eq!(have.asvk.as_deref(), Some(DER));
}

#[test]
fn errors_name_the_file_and_the_fix() {
    let refused = |name: &str, content: &[u8]| {
        let directory = directory(&[(name, content)]);
        let error = complete(evidence(VCEK), Some(directory.path())).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        error
    };
    assert!(matches!(refused("vcek.der", b""), CollateralError::NotOneCertificate(_)));
    assert!(matches!(refused("ark.pem", b"<html>"), CollateralError::NotOneCertificate(_)));
    assert!(matches!(refused("ask.pem", PEM.repeat(2).as_bytes()), CollateralError::NotOneCertificate(_)));
    assert!(matches!(refused("crl.der", &vec![0x30; 64 * 1024 + 1]), CollateralError::TooLarge(_)));
    let key = b"-----BEGIN PRIVATE KEY-----\nMAMCAQc=\n-----END PRIVATE KEY-----\n";
    assert!(matches!(refused("ask.pem", key), CollateralError::NotOneCertificate(_)));
}

#[test]
fn only_regular_files_in_a_real_directory_are_read() {
    let place = directory(&[]);
    fs::create_dir(place.path().join("vcek.der")).unwrap();
    let error = complete(evidence(VCEK), Some(place.path())).unwrap_err();
    assert!(matches!(error, CollateralError::NotAFile(_)), "{error}");
    fs::remove_dir(place.path().join("vcek.der")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path().join("vcek.der")).unwrap();
    let error = complete(evidence(VCEK), Some(place.path())).unwrap_err();
    assert!(matches!(error, CollateralError::Unreadable { .. }), "{error}");
    let absent = place.path().join("absent");
    let error = complete(evidence(VCEK), Some(&absent)).unwrap_err();
    assert!(matches!(error, CollateralError::NotADirectory(_)), "{error}");
}

const VCEK: u8 = 0;
const VLEK: u8 = 0b100;

fn evidence(key_info: u8) -> Evidence {
    let mut report = vec![0; 1184];
    report[0x48] = key_info;
    Evidence { format: EvidenceFormat::AmdSevSnp, report, endorsements: Endorsements::default() }
}

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}
