//! The extensions of a VCEK: whatever the ASK signs, only a certificate of this chip at this TCB is accepted.

use snp_evidence::Vek;

use crate::{
    der::{Element, contains, elements, first, signed_part, tlv, with_signed_part},
    machine::{MACHINE, objects},
    seeds,
    world::ROOT,
};

pub fn seed() {
    let certificates = [seeds::captured("vcek.der"), seeds::captured("vlek.der"), vec![genuine().to_vec()]];
    seeds::write(
        certificates.iter().flatten().filter_map(|der| Some(extensions(signed_part(der))?.to_vec())),
    );
}

pub fn run(data: &[u8]) {
    if data.len() > 4096 {
        return;
    }
    let part = with_extensions(signed_part(genuine()), data);
    let unsigned = MACHINE.with_vek(with_signed_part(genuine(), &part));
    let Err(refusal) = MACHINE.examine(&unsigned) else {
        assert_eq!(unsigned, MACHINE.genuine);
        return;
    };
    if ["chain.form", "chain.names", "vek.form"].iter().any(|check| objects(refusal.checks(), check)) {
        return;
    }
    let signed = ROOT.reissue(&MACHINE.processor, |tbs| *tbs = part).unwrap();
    if MACHINE.examine(&MACHINE.with_vek(signed.vek_der().to_vec())).is_ok() {
        assert!(certified().all(|fact| says(data, &fact)), "accepted for another chip or TCB");
    }
}

fn genuine() -> &'static [u8] {
    MACHINE.genuine.endorsements.vek.as_ref().map(Vek::der).unwrap()
}

/// The content of the sequence of extensions.
fn extensions(part: &[u8]) -> Option<&[u8]> {
    let last = elements(first(part)?.0.content).pop()?;
    (last.tag == 0xA3).then(|| first(last.content).map(|(list, _)| list.content))?
}

fn with_extensions(part: &[u8], extensions: &[u8]) -> Vec<u8> {
    let mut members = elements(first(part).unwrap().0.content);
    members.pop();
    let kept = members.iter().map(|member| member.whole).collect::<Vec<_>>().concat();
    tlv(0x30, &[kept, tlv(0xA3, &tlv(0x30, extensions))].concat())
}

/// Ends of the object ids of what AMD certifies: levels of FMC, boot loader, TEE, SNP and microcode; HWID.
const FACTS: [&[u8]; 6] = [&[3, 9], &[3, 1], &[3, 2], &[3, 3], &[3, 8], &[4]];
/// 1.3.6.1.4.1.3704.1.
const AMD: &[u8] = b"\x2B\x06\x01\x04\x01\x9C\x78\x01";

/// Object id and value of each fact in the genuine certificate.
fn certified() -> impl Iterator<Item = [&'static [u8]; 2]> {
    let all = elements(extensions(signed_part(genuine())).unwrap());
    all.into_iter().filter_map(|extension| {
        let members = elements(extension.content);
        let end = members[0].content.strip_prefix(AMD)?;
        FACTS.contains(&end).then(|| [members[0].whole, members.last().unwrap().whole])
    })
}

/// Whether some extension has this id and this value.
fn says(extensions: &[u8], fact: &[&[u8]; 2]) -> bool {
    let holds = |extension: &Element<'_>| fact.iter().all(|part| contains(extension.content, part));
    elements(extensions).iter().any(holds)
}
