//! Certificates and lists by their names: which one a report needs, and whether bytes are it.

use std::fs;

use snp_evidence::{ListDates, Product, Signer, TrustRoots, UnixTime, VcekId, Vek};
use snp_simulator::{Guest, ReportVersion, Tcb};
use x509_parser::pem::Pem;

use crate::{
    forgeries::{replace, replace_last},
    support::{at, captured, load, recorded},
    world::{NOW, ROOT, TCB, chip, list, roots},
};

fn vceks(report: &[u8]) -> Vec<VcekId> {
    match Signer::of(report) {
        Some(Signer::Vcek(ids)) => ids,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_captured_vcek_is_the_one_that_its_report_names() {
    let Some(all) = recorded() else { return };
    let (roots, mut seen) = (TrustRoots::amd(), 0);
    for entry in all.iter().filter(|entry| entry.cryptographic == "accept") {
        let evidence = load(&captured().unwrap().join(&entry.id));
        let vek = evidence.endorsements.vek.unwrap();
        let Vek::Vcek(der) = &vek else {
            let Some(Signer::Vlek(product)) = Signer::of(&evidence.report) else { panic!("{}", entry.id) };
            assert!(vek.product().is_some() && product.is_none_or(|named| Some(named) == vek.product()));
            continue;
        };
        let ids = vceks(&evidence.report);
        let named: Vec<_> =
            ids.iter().filter(|id| roots.check_vcek(id, der, entry.verify_at).is_ok()).collect();
        assert_eq!(named.len(), 1, "{}: {ids:?}", entry.id);
        assert_eq!(Some(named[0].product), vek.product(), "{}", entry.id);
        assert!(ids.len() == 1 || evidence.report[0] == 2, "{}: only version 2 leaves a doubt", entry.id);
        seen += 1;
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn captured_certificates_of_another_chip_or_tcb_are_told_apart() {
    let Some(folder) = captured() else { return };
    for (id, why) in [
        ("neg-milan-chip-mismatch", "of another chip"),
        ("neg-genoa-tcb-mismatch-newer-vcek", "certified"),
        ("neg-vcek-signature-tampered", "not signed"),
    ] {
        let evidence = load(&folder.join(id));
        let now = recorded().unwrap().iter().find(|entry| entry.id == id).unwrap().verify_at;
        let der = evidence.endorsements.vek.as_ref().unwrap().der();
        for vcek in
            vceks(&evidence.report).iter().filter(|id| Some(id.product) == evidence_product(&evidence))
        {
            let unfit = TrustRoots::amd().check_vcek(vcek, der, now).unwrap_err().to_string();
            assert!(unfit.contains(why), "{id}: {unfit}");
        }
    }
}

fn evidence_product(evidence: &snp_evidence::Evidence) -> Option<Product> {
    evidence.endorsements.vek.as_ref().and_then(Vek::product)
}

#[test]
fn amds_lists_and_asvks_are_known_by_their_product() {
    let Some(folder) = captured() else { return };
    let folder = folder.join("amd-ca");
    let roots = TrustRoots::amd();
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        let list = fs::read(folder.join(format!("{product}-20260819.crl"))).unwrap();
        let asvk = fs::read(folder.join(format!("{product}-asvk.pem"))).unwrap();
        let asvk = Pem::iter_from_buffer(&asvk).next().unwrap().unwrap().contents;
        for other in [Product::Milan, Product::Genoa, Product::Turin] {
            assert_eq!(roots.check_list(other, &list).is_ok(), other == product, "{other} {product}");
            assert_eq!(roots.is_asvk(other, &asvk), other == product, "{other} {product}");
        }
        let dates = roots.check_list(product, &list).unwrap();
        assert_eq!(dates.next_update, at("2026-10-04T00:00:00Z"));
        assert!(dates.this_update > at("2026-08-19T14:00:00Z"));
    }
}

#[test]
fn the_reported_tcb_names_the_certificate() {
    let lower = Tcb { microcode: 199, ..TCB };
    let guest = Guest { reported_tcb: Some(lower), ..Guest::default() };
    let processor = ROOT.make_processor(&chip(1, TCB)).unwrap();
    let [id] = vceks(&processor.report(&guest, &[0; 64]).unwrap()).try_into().unwrap();
    assert_eq!((id.product, id.hwid), (Product::Turin, vec![1; 8]));
    let named = [id.tcb.fmc.unwrap(), id.tcb.bootloader, id.tcb.tee, id.tcb.snp, id.tcb.microcode];
    assert_eq!(named, [1, 2, 3, 4, 199]);
}

#[test]
fn a_report_that_names_no_signer_has_none() {
    let processor = ROOT.make_processor(&chip(1, TCB)).unwrap();
    let report = |guest: &Guest| processor.report(guest, &[0; 64]).unwrap();
    let mut unsound = report(&Guest::default());
    unsound[0x4C] = 1;
    let mut venice = report(&Guest::default());
    venice[0x189] = 0x50;
    let no_key = report(&Guest { key_info: Some(7 << 2), ..Guest::default() });
    for report in [&[][..], &unsound, &venice, &no_key] {
        assert_eq!(Signer::of(report), None);
    }
    let masked = report(&Guest { mask_chip_id: true, ..Guest::default() });
    assert_eq!(Signer::of(&masked), Some(Signer::Vcek(Vec::new())));
    // 56 zero bytes behind the id: Turin's layout; the levels that Milan and Genoa reserve are not zero.
    let old = report(&Guest { version: ReportVersion::V2, ..Guest::default() });
    assert_eq!(vceks(&old).iter().map(|id| id.product).collect::<Vec<_>>(), [Product::Turin]);
}

type Edit = fn(&mut Vec<u8>);

/// Each certificate is right but for one thing, and under that issuer's signature.
#[test]
fn a_certificate_is_not_that_of_another_name() {
    let genuine = ROOT.make_processor(&chip(1, TCB)).unwrap();
    let [id] = vceks(&genuine.report(&Guest::default(), &[0; 64]).unwrap()).try_into().unwrap();
    let check = |der: &[u8], now| roots().check_vcek(&id, der, now);
    assert_eq!(check(genuine.vek_der(), NOW), Ok(()));

    let edits: [(Edit, &str); 5] = [
        (|tbs| replace(tbs, b"SEV-VCEK", b"SEV-VCEX"), "VEK has another name"),
        (|tbs| replace_last(tbs, b"\x17\x0D26", b"\x17\x0D21"), "VEK valid from"),
        (|tbs| replace(tbs, b"\x16\x05Turin", b"\x16\x05Tufin"), "not a P-384 key for turin"),
        (|tbs| replace(tbs, b"\x2B\x81\x04\x00\x22", b"\x2B\x81\x04\x00\x23"), "not a P-384 key for turin"),
        (|tbs| replace(tbs, b"\x9C\x78\x01\x04", b"\x9C\x78\x01\x06"), "of another chip"),
    ];
    for (edit, why) in edits {
        let unfit = check(ROOT.reissue(&genuine, edit).unwrap().vek_der(), NOW).unwrap_err().to_string();
        assert!(unfit.contains(why), "{why}: {unfit}");
    }
    let made = |id, tcb| ROOT.make_processor(&chip(id, tcb)).unwrap().vek_der().to_vec();
    let mut damaged = genuine.vek_der().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    for (der, why) in [
        (made(2, TCB), "of another chip"),
        (made(1, Tcb { fmc: 2, ..TCB }), "certified fmc 2"),
        (made(1, Tcb { microcode: 199, ..TCB }), "certified fmc 1"),
        (damaged, "not signed by its issuer"),
        (genuine.ask_der().to_vec(), "VEK has another name"),
        (b"\x30\x00".to_vec(), "VEK"),
    ] {
        let unfit = check(&der, NOW).unwrap_err().to_string();
        assert!(unfit.contains(why), "{why}: {unfit}");
    }
    let late = UnixTime(NOW.0 + 2 * 86_400);
    assert!(check(genuine.vek_der(), late).unwrap_err().to_string().contains("not at"));
    let none = TrustRoots::amd().check_vcek(&id, genuine.vek_der(), NOW).unwrap_err().to_string();
    assert!(none.contains("another name"), "{none}");
    let milan = VcekId { product: Product::Milan, ..id.clone() };
    let none = roots().check_vcek(&milan, genuine.vek_der(), NOW).unwrap_err().to_string();
    assert!(none.contains("no pinned roots for milan"), "{none}");
}

#[test]
fn a_list_is_the_products_by_name_and_signature() {
    let good = list(&[], -60, 60);
    let dates = ListDates { this_update: UnixTime(NOW.0 - 60), next_update: UnixTime(NOW.0 + 60) };
    assert_eq!(roots().check_list(Product::Turin, &good), Ok(dates));
    let renamed = ROOT.reissue_crl(&good, |tbs| replace(tbs, b"ARK-Turin", b"ARK-Tufin")).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (der, why) in [
        (renamed, "a list of ARK-Tufin"),
        (damaged, "not signed by the ARK of turin"),
        (good[..good.len() - 1].to_vec(), "DER"),
    ] {
        let unfit = roots().check_list(Product::Turin, &der).unwrap_err().to_string();
        assert!(unfit.contains(why), "{why}: {unfit}");
    }
    assert!(roots().check_list(Product::Genoa, &good).is_err());
    assert!(TrustRoots::amd().check_list(Product::Turin, &good).is_err());
    assert!(!roots().is_asvk(Product::Turin, ROOT.make_processor(&chip(1, TCB)).unwrap().ask_der()));
}
