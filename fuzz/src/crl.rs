//! A revocation list: whatever the ARK signs, a list that names the ASK refuses it.

use crate::{
    der::{elements, first, signed_part, with_signed_part},
    machine::{MACHINE, objects},
    seeds,
    world::{DAY, ROOT, list},
};

pub fn seed() {
    let serials = [ROOT.ask_serial(), ROOT.asvk_serial()];
    let lists = [list(&[], -60, DAY), list(&serials, -60, DAY), genuine().to_vec()];
    let captured = ["milan-20260819.crl", "genoa-20260819.crl", "genoa-20241023.crl", "turin-20260819.crl"];
    let lists = lists.into_iter().chain(captured.into_iter().flat_map(seeds::captured));
    seeds::write(lists.map(|list| signed_part(&list).to_vec()));
}

pub fn run(data: &[u8]) {
    if data.len() > 4096 || first(data).is_none_or(|(_, rest)| !rest.is_empty()) {
        return;
    }
    let unsigned = MACHINE.with_list(with_signed_part(genuine(), data));
    let Err(refusal) = MACHINE.examine(&unsigned) else {
        assert_eq!(unsigned, MACHINE.genuine);
        return;
    };
    if ["crl.form", "crl.issuer"].iter().any(|check| objects(refusal.checks(), check)) {
        return;
    }
    let signed = ROOT.reissue_crl(genuine(), |tbs| *tbs = data.to_vec()).unwrap();
    if MACHINE.examine(&MACHINE.with_list(signed)).is_ok() {
        assert!(!revoked(data).contains(&ROOT.ask_serial()), "accepted although the ASK is revoked");
    }
}

fn genuine() -> &'static [u8] {
    MACHINE.genuine.endorsements.crl.as_deref().unwrap()
}

/// Serial numbers that fit, of the entries: the SEQUENCE behind the two dates.
fn revoked(part: &[u8]) -> Vec<u64> {
    let members = elements(first(part).unwrap().0.content);
    let dates = members.iter().rposition(|member| matches!(member.tag, 0x17 | 0x18));
    let entries = dates.and_then(|at| members.get(at + 1)).filter(|member| member.tag == 0x30);
    let entries = entries.map(|entries| elements(entries.content)).unwrap_or_default();
    entries.iter().filter_map(|entry| number(elements(entry.content).first()?.content)).collect()
}

fn number(bytes: &[u8]) -> Option<u64> {
    let digits: Vec<_> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    (digits.len() <= 8).then(|| digits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
