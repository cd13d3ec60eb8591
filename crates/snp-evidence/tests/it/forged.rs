//! Each check refuses its own forgeries, and is needed: to some forgery it is the only one that objects.

use std::collections::BTreeSet;

use snp_evidence::{CheckOutcome, CheckResult, Refusal, only_objection};

use crate::{
    forgeries::{self, Forgery, by_vlek, reissue, relist, replace},
    world::{Case, DAY, ROOT, list},
};

fn refuse((id, _, forge): &Forgery) -> Refusal {
    let mut case = Case::new();
    forge(&mut case);
    case.judge().map(drop).err().unwrap_or_else(|| panic!("{id}: accepted"))
}

fn accepted(case: Case) {
    case.judge().unwrap_or_else(|refusal| panic!("{refusal}"));
}

fn ids<'o>(outcomes: impl Iterator<Item = &'o CheckOutcome>) -> Vec<&'static str> {
    outcomes.map(|outcome| outcome.id).collect()
}

#[test]
fn each_forgery_is_refused_by_its_own_check() {
    for (index, forgery) in forgeries::all().enumerate() {
        let refusal = refuse(forgery);
        let (id, class, _) = forgery;
        assert_eq!((refusal.reason(), refusal.class()), (*id, *class), "forgery {index}: {refusal}");
    }
}

/// Without the one check, each of these would pass: verdicts are conjunctions of the outcomes.
#[test]
fn every_check_is_the_only_objection_to_some_forgery() {
    let verified = Case::new().judge().unwrap_or_else(|refusal| panic!("{refusal}"));
    let all: BTreeSet<_> = verified.checks().iter().map(|check| check.id).collect();
    assert_eq!(all.len(), verified.checks().len(), "each check stands once");
    let mut needed = BTreeSet::new();
    for forgery in forgeries::all() {
        needed.extend(only_objection(refuse(forgery).checks()).map(|check| check.id));
    }
    assert_eq!(all, needed);
}

#[test]
fn every_verdict_lists_every_check_once_and_passes_none_after_a_broken_core_check() {
    let all = ids(Case::new().judge().unwrap().checks().iter());
    for forgery in forgeries::all() {
        let (refusal, (id, class, _)) = (refuse(forgery), forgery);
        assert_eq!(ids(refusal.checks().iter()), all, "{id}");
        if class.is_core() {
            let mut after = refusal.checks().iter().skip_while(|check| check.id != *id);
            assert!(after.all(|check| check.result != CheckResult::Pass), "{id}");
        }
    }
}

/// Only signatures are remembered, and only of the very chain that was good.
#[test]
fn no_forgery_passes_for_the_sake_of_a_remembered_chain() {
    let remembered = crate::world::roots().remembering(8);
    for forgery in forgeries::all() {
        let mut genuine = Case::new();
        genuine.roots = remembered.clone();
        accepted(genuine);
        let mut case = Case::new();
        case.roots = remembered.clone();
        (forgery.2)(&mut case);
        assert_eq!(case.judge().map(drop).unwrap_err().reason(), forgery.0);
    }
}

/// A check that was not judged names the one to blame, and that one failed.
#[test]
fn whatever_is_not_judged_names_a_check_that_failed() {
    for forgery in forgeries::all() {
        let refusal = refuse(forgery);
        let failed = ids(refusal.checks().iter().filter(|check| check.result == CheckResult::Fail));
        for outcome in refusal.checks() {
            let blamed = outcome.unjudged;
            assert!(blamed.is_none_or(|id| id != outcome.id && failed.contains(&id)), "{outcome:?}");
            assert!(blamed.is_none() || outcome.result == CheckResult::Fail, "{outcome:?}");
        }
    }
}

/// What AMD's authority signs is still refused where it is not of AMD's profile.
#[test]
fn a_vek_of_another_profile_is_refused() {
    type Edit = fn(&mut Vec<u8>);
    let profiles: [(&str, Edit); 8] = [
        ("P-384 key for Tufin", |tbs| replace(tbs, b"\x16\x05Turin", b"\x16\x05Tufin")),
        ("no P-384 key", |tbs| replace(tbs, b"\x2B\x81\x04\x00\x22", b"\x2B\x81\x04\x00\x23")),
        ("AMD extension tee is missing", |tbs| {
            replace(tbs, b"\x9C\x78\x01\x03\x02", b"\x9C\x78\x01\x03\x04");
            replace(tbs, b"\x03\x04\x04\x03\x02\x01\x03", b"\x03\x04\x04\x03\x02\x01\x00");
        }),
        ("AMD extension microcode is not DER of its type", |tbs| {
            replace(tbs, b"\x02\x02\x00\xC8", b"\x02\x02\x00\x48");
        }),
        ("AMD extension product name is not DER of its type", |tbs| {
            replace(tbs, b"\x16\x05Turin", b"\x0C\x05Turin");
        }),
        ("certificate structure version 2 is unknown", |tbs| {
            replace(tbs, b"\x9C\x78\x01\x01\x04\x03\x02\x01\x01", b"\x9C\x78\x01\x01\x04\x03\x02\x01\x02");
        }),
        ("a level of an unknown firmware part, or a reserved level that is not zero", |tbs| {
            replace(tbs, b"\x9C\x78\x01\x03\x05", b"\x9C\x78\x01\x03\x0A");
        }),
        ("a level of an unknown firmware part, or a reserved level that is not zero", |tbs| {
            replace(tbs, b"\x03\x06\x04\x03\x02\x01\x00", b"\x03\x06\x04\x03\x02\x01\x01");
        }),
    ];
    for (observed, edit) in profiles {
        let mut case = Case::new();
        reissue(&mut case, edit);
        let refusal = case.judge().map(drop).unwrap_err();
        let failed = refusal.checks().iter().find(|check| check.objects()).unwrap();
        assert_eq!((failed.id, failed.observed.as_str()), ("vek.form", observed));
    }
}

#[test]
fn an_extension_that_stands_twice_is_refused() {
    let mut case = Case::new();
    reissue(&mut case, |tbs| replace(tbs, b"\x9C\x78\x01\x03\x09", b"\x9C\x78\x01\x03\x03"));
    let refusal = case.judge().map(drop).unwrap_err();
    assert_eq!(refusal.reason(), "chain.form");
    assert!(refusal.to_string().contains("extension 1.3.6.1.4.1.3704.1.3.3 stands twice"), "{refusal}");
}

#[test]
fn a_listed_provider_may_sign_by_vlek_where_any_chip_is_accepted() {
    let mut case = Case::new();
    by_vlek(&mut case);
    accepted(case);
}

/// Its key is the provider's, so that it says nothing of the chip, masked or not.
#[test]
fn a_vlek_report_may_come_from_a_masked_chip() {
    let mut case = Case::new();
    by_vlek(&mut case);
    case.guest.mask_chip_id = true;
    accepted(case);
}

#[test]
fn a_list_may_be_stale_as_long_as_the_policy_says() {
    let mut case = Case::new();
    case.policy("crl = \"require\"", "crl = { stale_days = 3 }");
    case.evidence = |e| e.endorsements.crl = Some(list(&[], -9 * DAY, -3 * DAY));
    accepted(case);
}

#[test]
fn the_serial_that_counts_is_the_issuers() {
    let mut case = Case::new();
    case.evidence = |e| e.endorsements.crl = Some(list(&[0, ROOT.asvk_serial()], -60, DAY));
    accepted(case);
    let mut case = Case::new();
    by_vlek(&mut case);
    case.evidence = |e| e.endorsements.crl = Some(list(&[0, ROOT.ask_serial()], -60, DAY));
    accepted(case);
}

#[test]
fn a_list_without_an_end_is_no_list() {
    let mut case = Case::new();
    // nextUpdate, the last date, becomes an element that is no date.
    case.evidence = |e| {
        e.endorsements.crl = Some(list(&[], -60, DAY));
        relist(e, |tbs| {
            let at = tbs.windows(2).rposition(|window| window == b"\x17\x0D").unwrap();
            tbs[at] = 0x04;
        });
    };
    assert_eq!(case.judge().map(drop).unwrap_err().reason(), "crl.form");
}

#[test]
fn a_list_that_nobody_asked_for_is_not_looked_at() {
    let mut case = Case::new();
    case.policy("crl = \"require\"", "crl = { off = \"test\" }");
    case.evidence = |e| e.endorsements.crl = Some(b"no list".to_vec());
    accepted(case);
}

#[test]
fn bits_may_be_demanded_by_product() {
    let mut case = Case::new();
    let bits = "{ set = [\"ecc\", \"alias_check_complete\"], clear = [\"tio\"] }";
    let by_product = format!("{{ turin = {bits}, milan = {{ set = [\"tio\"], clear = [] }} }}");
    case.policy(bits, &by_product);
    case.policy("minimum = \"1.55.61\"", "minimum = { milan = \"9.9.9\", turin = \"1.55.61\" }");
    accepted(case);
}

#[test]
fn a_known_migration_agent_may_be_listed() {
    let mut case = Case::new();
    let agent = "07".repeat(32);
    case.policy("report_id_ma = \"forbid\"", &format!("report_id_ma = {{ allow = [\"{agent}\"] }}"));
    case.guest.report_id_ma = [7; 32];
    accepted(case);
}

#[test]
fn processors_to_come_are_told_by_name() {
    let mut case = Case::new();
    case.body = |b| b[0x189] = 0x50;
    let refusal = case.judge().map(drop).unwrap_err();
    assert!(refusal.to_string().contains("observed venice, CPU family 0x1a model 0x50"), "{refusal}");
}

#[test]
fn the_cvms_own_ca_identifies_it_where_the_policy_lists_its_key() {
    let mut case = Case::new();
    let ca = hex::encode(crate::world::sha256(b"ca"));
    case.policy("identity = \"require\"", &format!("identity = {{ ca_spki = [\"{ca}\"] }}"));
    accepted(case);
}
