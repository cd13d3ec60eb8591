//! What every verifier has to accept.

use serde_json::Value;
use snp_evidence::{
    Binder, Bundle, Challenge, NonceTree, PUBLIC_LISTENER, Purpose, ReportData, TreePosition, leaf,
};

use crate::{
    Question,
    forgeries::by_vlek,
    world::{Case, DAY, challenge, list, sha256},
};

pub(crate) fn cases() -> impl Iterator<Item = Value> {
    let alone = || Question::of(Case::new());
    let edited = |edit: fn(&mut Case)| {
        let mut case = Case::new();
        edit(&mut case);
        Question::of(case)
    };
    [
        ("alone", alone()),
        ("one-of-five", of_five(3)),
        ("last-of-five", of_five(4)),
        ("tls-spki", edited(tls_spki)),
        ("vlek", edited(by_vlek)),
        ("stale-list-within-its-budget", edited(stale)),
        ("rules-by-product", edited(by_product)),
        ("rules-off", edited(off)),
        ("ca-spki", edited(ca_spki)),
        ("white-space", edited(|case| case.json = |json| json.replace(",\"", " ,\n\t\""))),
        ("escaped", edited(|case| case.json = |json| json.replace("\"purpose\"", "\"pur\\u0070ose\""))),
    ]
    .into_iter()
    .map(|(id, question)| question.case(&format!("valid/{id}"), None))
}

/// One challenge among five of one report.
pub(crate) fn of_five(index: u32) -> Question {
    let case = Case::new();
    let own = challenge();
    let other = |number: u32| Challenge { nonce: [0x40 + u8::try_from(number).unwrap(); 32], ..challenge() };
    let leaf = |number| {
        let Challenge { nonce, binder, .. } = if number == index { own.clone() } else { other(number) };
        leaf(&nonce, &binder)
    };
    let tree = NonceTree::new((0..5).map(leaf).collect());
    let (manifest, claims) = (case.manifest.to_bytes(), case.claims.to_bytes());
    let data = ReportData::compute(Purpose::Fresh, &tree.root(), &manifest, &claims);
    let place = TreePosition::new(tree.len(), index, &tree.path(index));
    let bundle = Bundle::new(&own, place, &case.sign(&data), &manifest, &claims).to_bytes();
    Question { bundle, challenge: own, roots: case.roots, policy: case.policy, now: case.now }
}

fn tls_spki(case: &mut Case) {
    case.asked.binder = Binder::tls_spki(sha256(b"tls"), PUBLIC_LISTENER);
    case.expected = case.asked.clone();
}

fn stale(case: &mut Case) {
    case.policy("crl = \"require\"", "crl = { stale_days = 3 }");
    case.evidence = |evidence| evidence.endorsements.crl = Some(list(&[], -9 * DAY, -3 * DAY));
}

fn by_product(case: &mut Case) {
    let bits = "{ set = [\"ecc\", \"alias_check_complete\"], clear = [\"tio\"] }";
    case.policy(bits, &format!("{{ turin = {bits}, milan = {{ set = [\"tio\"], clear = [] }} }}"));
    case.policy("minimum = \"1.55.61\"", "minimum = { milan = \"9.9.9\", turin = \"1.55.61\" }");
}

/// A list that is not asked for is not looked at.
fn off(case: &mut Case) {
    case.policy("crl = \"require\"", "crl = { off = \"test\" }");
    case.evidence = |evidence| evidence.endorsements.crl = Some(b"no list".to_vec());
    case.policy("debug = \"forbid\"", "debug = { off = \"test\" }");
    case.guest.policy |= 1 << 19;
    case.claims.dbgstat = snp_evidence::DebugStatus::Enabled;
}

fn ca_spki(case: &mut Case) {
    let ca = hex::encode(sha256(b"ca"));
    case.policy("identity = \"require\"", &format!("identity = {{ ca_spki = [\"{ca}\"] }}"));
}
