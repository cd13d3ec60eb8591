//! Each check refuses its own forgeries, and is needed: to each of these it is the only one that objects.

use std::collections::BTreeSet;

use azure_vtpm::{Nonce, NonceError};
use snp_evidence::{CheckResult, RefusalClass, only_objection};

use crate::{
    forgeries::{BROKEN, FORGERIES},
    world::Case,
};

#[test]
fn the_simulated_guest_is_accepted() {
    let case = Case::new();
    let verified = case.judge().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(verified.runtime_data().vm_unique_id(), "one");
    assert!(verified.runtime_data().secure_boot() && verified.report().simulated());
    let quoted: Vec<_> = verified.pcrs().keys().copied().collect();
    assert_eq!(quoted, [0, 1, 2, 3, 4, 5, 6, 7, 16, 23]);
    assert_eq!(verified.pcrs()[&23], [23; 32]);
}

#[test]
fn other_forms_of_the_same_evidence_are_accepted() {
    let forms: [fn(&mut Case); 7] = [
        |c| c.data_version = 2,
        |c| c.hcl = |b| b[4] = 1,
        |c| c.hcl = |b| b.truncate(b.iter().rposition(|byte| *byte != 0).unwrap() + 1),
        |c| c.json = |json| json.replace("\"user-data\":\"00\",", ""),
        |c| c.evidence = |e| e.quote = sized(&e.quote),
        |c| c.evidence = |e| e.signature = [b"\x00\x14\x00\x0B", &sized(&e.signature)[..]].concat(),
        |c| c.evidence = |e| (e.pcrs, e.runtime_data) = (None, None),
    ];
    for (index, form) in forms.into_iter().enumerate() {
        let mut case = Case::new();
        form(&mut case);
        case.judge().unwrap_or_else(|refusal| panic!("form {index}: {refusal}"));
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[test]
fn each_forgery_is_refused_by_its_check() {
    for (index, (id, forge)) in FORGERIES.iter().chain(BROKEN).enumerate() {
        let mut case = Case::new();
        forge(&mut case);
        let refusal = case.judge().map(drop).expect_err(id);
        let class = match *id {
            "azure.nonce" => RefusalClass::Channel,
            "azure.hcl" | "azure.runtime_data" | "azure.quote" | "report.structure" => {
                RefusalClass::Malformed
            }
            _ => RefusalClass::Untrusted,
        };
        assert_eq!((refusal.reason(), refusal.class()), (*id, class), "forgery {index}: {refusal}");
    }
}

#[test]
fn without_its_check_each_forgery_would_be_accepted() {
    for (index, (id, forge)) in FORGERIES.iter().enumerate() {
        let mut case = Case::new();
        forge(&mut case);
        let refusal = case.judge().map(drop).expect_err(id);
        let only = only_objection(refusal.checks()).map(|check| check.id);
        assert_eq!(only, Some(*id), "forgery {index}: {refusal}");
    }
}

#[test]
fn every_check_has_a_forgery_and_a_place_in_every_verdict() {
    let all: Vec<_> = Case::new().judge().unwrap().checks().iter().map(|check| check.id).collect();
    let own: BTreeSet<_> = all.iter().copied().filter(|id| id.starts_with("azure.")).collect();
    let forged: BTreeSet<_> = FORGERIES.iter().map(|(id, _)| *id).collect();
    assert_eq!(own, forged);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each check stands once");
    for (id, forge) in FORGERIES.iter().chain(BROKEN) {
        let mut case = Case::new();
        forge(&mut case);
        let refusal = case.judge().map(drop).expect_err(id);
        let listed: Vec<_> = refusal.checks().iter().map(|check| check.id).collect();
        assert_eq!(listed, all, "{id}");
        if *id != "azure.nonce" {
            let mut after = refusal.checks().iter().skip_while(|check| check.id != *id);
            assert!(after.all(|check| check.result != CheckResult::Pass), "{id}");
        }
    }
}

#[test]
fn a_policy_refusal_leaves_the_quote_judged() {
    let mut case = Case::new();
    case.guest.policy |= 1 << 19;
    case.policy =
        case.policy.replace("debug = { off = \"cryptographic verdict only\" }", "debug = \"forbid\"");
    let refusal = case.judge().map(drop).unwrap_err();
    assert_eq!((refusal.reason(), refusal.class()), ("guest_policy.debug", RefusalClass::OutOfPolicy));
    let nonce = refusal.checks().iter().find(|check| check.id == "azure.nonce").unwrap();
    assert_eq!(nonce.result, CheckResult::Pass);
}

/// The runtime data are compared whatever the policy says of `report_data`.
#[test]
fn a_policy_that_demands_a_binding_is_met() {
    let mut case = Case::new();
    case.policy = case
        .policy
        .replace("report_data = { off = \"cryptographic verdict only\" }", "report_data = \"require\"");
    case.judge().unwrap_or_else(|refusal| panic!("{refusal}"));
}

#[test]
fn a_missing_vek_is_missing_collateral() {
    let mut case = Case::new();
    case.evidence = |e| e.endorsements.vek = None;
    let refusal = case.judge().map(drop).unwrap_err();
    assert_eq!((refusal.reason(), refusal.class()), ("collateral.vek", RefusalClass::Unavailable));
}

#[test]
fn no_nonce_is_empty_or_longer_than_a_tpm_takes() {
    for length in [0, 65] {
        assert_eq!(Nonce::new(&vec![7; length]), Err(NonceError(length)));
    }
    assert!(Nonce::new(&[7; 64]).is_ok());
}
