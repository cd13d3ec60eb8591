//! Roots are AMD's as published, or one simulator's; never a mix.

use snp_evidence::{RootsError, TrustRoots};

use crate::{
    support::captured,
    world::{Case, ROOT, TCB, chip},
};

#[test]
fn a_simulators_root_file_names_each_authority_once() {
    let pem = ROOT.root_pem();
    let end = pem.find("-----END CERTIFICATE-----\n").unwrap() + 26;
    assert!(TrustRoots::simulated(pem.as_bytes()).unwrap().is_simulated());
    for wrong in [String::new(), pem[end..].to_owned(), format!("{pem}{}", &pem[..end])] {
        assert!(matches!(TrustRoots::simulated(wrong.as_bytes()), Err(RootsError::Incomplete)));
    }
    let damaged = format!("{}{pem}", pem[..end].replacen("MII", "!!!", 1));
    assert!(matches!(TrustRoots::simulated(damaged.as_bytes()), Err(RootsError::Pem)));
}

#[test]
fn a_leaf_certificate_is_no_root() {
    let Some(folder) = captured() else { return };
    let der = std::fs::read(folder.join("turin-v5-vcek-oak/vcek.der")).unwrap();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    assert!(matches!(TrustRoots::simulated(pem.as_bytes()), Err(RootsError::Certificate { index: 0, .. })));
}

/// A chip id that begins like DER is still raw bytes.
#[test]
fn chip_ids_that_look_like_der_are_compared_as_they_stand() {
    for id in [0x02, 0x04, 0x30] {
        let mut case = Case::new();
        case.processor = Some(ROOT.make_processor(&chip(id, TCB)).unwrap());
        case.policy("0101010101010101\"]\n\n[guest", &format!("{}\"]\n\n[guest", hex::encode([id; 8])));
        case.judge().unwrap_or_else(|refusal| panic!("{refusal}"));
    }
}
