//! The host's certificate table: what is read stands in it, is no longer than it, and is read again when written anew.

use snp_evidence::{Endorsements, Vek};
use snp_platform::endorsements_from_table;

use crate::{der::contains, machine::MACHINE, seeds};

const ARK: u128 = 0xC0B4_06A4_A803_4952_9743_3FB6_014C_D0AE;
const ASK: u128 = 0x4AB7_B379_BBAC_4FE4_A02F_05AE_F327_C782;
const VCEK: u128 = 0x63DA_758D_E664_4564_ADC5_F4B9_3BE8_ACCD;
const VLEK: u128 = 0xA807_4BC2_A25A_483E_AAE6_39C0_45A0_B8A1;
const CRL: u128 = 0x92F8_1BC3_5811_4D3D_97FF_D19F_88DC_67EA;

pub fn seed() {
    let small =
        [(ARK, vec![1; 5]), (ASK, vec![2; 3]), (VCEK, vec![3; 4]), (CRL, vec![4; 2]), (VLEK, vec![5; 9])];
    let table = |entries: &[(u128, Vec<u8>)]| write(entries);
    seeds::write([
        Vec::new(),
        vec![0; 24],
        table(&small),
        table(&small[..2]),
        write(&entries(&MACHINE.genuine.endorsements)),
    ]);
}

pub fn run(data: &[u8]) {
    for loaded_key in [false, true] {
        let Ok(found) = endorsements_from_table(data, loaded_key) else { continue };
        let entries = entries(&found);
        let bytes: usize = entries.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= data.len());
        assert!(entries.iter().all(|(_, bytes)| contains(data, bytes)));
        assert_eq!(endorsements_from_table(&write(&entries), loaded_key).as_ref(), Ok(&found));
    }
}

fn entries(found: &Endorsements) -> Vec<(u128, Vec<u8>)> {
    let Endorsements { vek, ask, asvk, ark, crl } = found;
    let (vcek, vlek) = match vek {
        Some(Vek::Vcek(der)) => (Some(der), None),
        Some(Vek::Vlek(der)) => (None, Some(der)),
        None => (None, None),
    };
    let issuer = ask.as_ref().or(asvk.as_ref());
    let all = [(VCEK, vcek), (VLEK, vlek), (ASK, issuer), (ARK, ark.as_ref()), (CRL, crl.as_ref())];
    all.into_iter().filter_map(|(kind, bytes)| Some((kind, bytes?.clone()))).collect()
}

fn write(entries: &[(u128, Vec<u8>)]) -> Vec<u8> {
    let (mut headers, mut bytes) = (Vec::new(), Vec::new());
    for (kind, certificate) in entries {
        let start = 24 * (entries.len() + 1) + bytes.len();
        headers.extend(kind.to_be_bytes());
        headers.extend(u32::try_from(start).unwrap().to_le_bytes());
        headers.extend(u32::try_from(certificate.len()).unwrap().to_le_bytes());
        bytes.extend(certificate);
    }
    [headers, vec![0; 24], bytes].concat()
}
