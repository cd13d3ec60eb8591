//! Against AMD's own reports and certificates, where `../shared` holds them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use x509_parser::prelude::{AlgorithmIdentifier, X509Extension};

use super::*;

/// The strongest check of the writer: told what other people's parsers read in genuine reports, it must write the
/// same signed bytes.
#[test]
fn genuine_reports_are_reproduced_byte_for_byte() {
    let Some(evidence) = shared_evidence() else { return };
    let mut seen = 0;
    for folder in fs::read_dir(evidence).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(genuine) = fs::read(folder.join("report.bin")) else { continue };
        let notes: Value = serde_json::from_slice(&fs::read(folder.join("notes.json")).unwrap()).unwrap();
        if notes["real"] != true {
            continue;
        }
        let (product, chip, key, guest, report_data) = told(&notes);
        let body = guest.body(product, &chip, key, &report_data);
        assert_eq!(hex::encode(body), hex::encode(&genuine[..layout::BODY_LEN]), "{}", folder.display());
        seen += 1;
    }
    assert!(seen > 15, "only {seen} genuine reports found");
}

#[test]
fn certificates_have_the_shape_of_amds() {
    let Some(evidence) = shared_evidence() else { return };
    let ours = processor();
    let vlek = root().make_vlek_processor(&chip(Product::Genoa), "CN=cloud.example.com").unwrap();
    for (our, genuine) in [
        (ours.ark_der(), "amd-ca/genoa-ark.pem"),
        (ours.ask_der(), "amd-ca/genoa-ask.pem"),
        (ours.asvk_der(), "amd-ca/genoa-asvk.pem"),
        (ours.vek_der(), "genoa-v5-vcek-model-a0/vcek.der"),
        (vlek.vek_der(), "milan-v3-vlek-aws-useast2/vlek.der"),
    ] {
        let file = fs::read(evidence.join(genuine)).unwrap();
        let der = Pem::iter_from_buffer(&file).next().and_then(Result::ok).map_or(file, |pem| pem.contents);
        assert_eq!(shape(our), shape(&der), "{genuine}");
    }
    let turin = SimulatedRoot::generate(Product::Turin, NOW).unwrap();
    let turin = turin.make_processor(&ChipSpec::random(Product::Turin).unwrap()).unwrap();
    let der = fs::read(evidence.join("turin-v5-vcek-oak/vcek.der")).unwrap();
    assert_eq!(shape(turin.vek_der()), shape(&der));
}

/// All of a certificate that does not depend on keys, dates and chip.
fn shape(der: &[u8]) -> impl PartialEq + fmt::Debug {
    let certificate = parse(der);
    let algorithm = |it: &AlgorithmIdentifier<'_>| {
        (it.algorithm.to_id_string(), it.parameters.as_ref().map(|any| any.data.to_vec()))
    };
    let extension = |it: &X509Extension<'_>| {
        // Of AMD's own extensions and of key identifiers only the place is fixed.
        let fixed = ["2.5.29.15", "2.5.29.19", "2.5.29.31"].contains(&it.oid.to_id_string().as_str());
        (it.oid.to_id_string(), it.critical, fixed.then(|| it.value.to_vec()))
    };
    let names: Vec<_> = certificate
        .subject()
        .iter_attributes()
        .map(|it| (it.attr_type().to_id_string(), it.attr_value().tag()))
        .collect();
    (
        certificate.version(),
        algorithm(&certificate.signature_algorithm),
        algorithm(&certificate.tbs_certificate.signature),
        algorithm(&certificate.public_key().algorithm),
        names,
        certificate.extensions().iter().map(extension).collect::<Vec<_>>(),
    )
}

fn shared_evidence() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence");
    if !folder.is_dir() {
        println!("skipped: ../shared is absent");
        return None;
    }
    Some(folder)
}

/// The guest and chip that the notes beside a genuine report describe.
fn told(notes: &Value) -> (Product, ChipSpec, SigningKey, Guest, [u8; 64]) {
    let report = &notes["report"];
    let product: Product = notes["product"].as_str().unwrap().to_lowercase().parse().unwrap();
    let tcb = |which: &str| Some(tcb_told(&report["tcb"][which]));
    let number = |text: &Value| {
        u64::from_str_radix(text.as_str().unwrap_or("0x0").trim_start_matches("0x"), 16).unwrap()
    };
    let cpuid = |field: &str| {
        let value = &report["cpuid"][field];
        u8::try_from(value.as_u64().unwrap_or_else(|| number(value))).unwrap()
    };
    let version = match report["version"].as_u64().unwrap() {
        2 => ReportVersion::V2,
        3 => ReportVersion::V3,
        4 => ReportVersion::V4,
        _ => ReportVersion::V5,
    };
    let chip = ChipSpec {
        chip_id: bytes(&report["chip_id"]),
        cpuid: Cpuid { family: cpuid("family"), model: cpuid("model"), stepping: cpuid("stepping") },
        tcb: product.tcb(),
    };
    let guest = Guest {
        version,
        guest_svn: u32::try_from(report["guest_svn"].as_u64().unwrap()).unwrap(),
        policy: number(&report["policy"]["raw"]),
        family_id: bytes(&report["family_id"]),
        image_id: bytes(&report["image_id"]),
        vmpl: u32::try_from(report["vmpl"].as_u64().unwrap()).unwrap(),
        platform_info: number(&report["platform_info"]["raw"]),
        key_info: u32::try_from(number(&report["key_info"]["raw"])).ok(),
        measurement: bytes(&report["measurement"]),
        host_data: bytes(&report["host_data"]),
        id_key_digest: bytes(&report["id_key_digest"]),
        author_key_digest: bytes(&report["author_key_digest"]),
        report_id: bytes(&report["report_id"]),
        report_id_ma: bytes(&report["report_id_ma"]),
        current_tcb: tcb("current"),
        reported_tcb: tcb("reported"),
        committed_tcb: tcb("committed"),
        launch_tcb: tcb("launch"),
        current_firmware: firmware_told(&report["current_version"]),
        committed_firmware: firmware_told(&report["committed_version"]),
        launch_mit_vector: number(&report["launch_mit_vector"]),
        current_mit_vector: number(&report["current_mit_vector"]),
        ..Guest::default()
    };
    let key = if report["key_info"]["signing_key"] == "VLEK" { SigningKey::Vlek } else { SigningKey::Vcek };
    (product, chip, key, guest, bytes(&report["report_data"]))
}

fn tcb_told(notes: &Value) -> Tcb {
    let level = |name: &str| u8::try_from(notes[name].as_u64().unwrap_or(0)).unwrap();
    Tcb {
        fmc: level("fmc"),
        bootloader: level("bootloader"),
        tee: level("tee"),
        snp: level("snp"),
        microcode: level("microcode"),
    }
}

fn firmware_told(notes: &Value) -> FirmwareVersion {
    let parts: Vec<u8> = notes.as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    FirmwareVersion { major: parts[0], minor: parts[1], build: parts[2] }
}

fn bytes<const N: usize>(text: &Value) -> [u8; N] {
    hex::decode(text.as_str().unwrap()).unwrap().try_into().unwrap()
}
