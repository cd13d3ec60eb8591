use proptest::prelude::*;

use super::*;

pub(crate) const ARK: u128 = 0xc0b406a4_a803_4952_9743_3fb6014cd0ae;
pub(crate) const ASK: u128 = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782;
pub(crate) const VCEK: u128 = 0x63da758d_e664_4564_adc5_f4b93be8accd;
pub(crate) const VLEK: u128 = 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1;
const CRL: u128 = 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea;

#[test]
fn every_kind_finds_its_place() {
    let table =
        table(&[(ARK, b"ark"), (0x77, b"?"), (ASK, b"ask"), (VCEK, b"vcek"), (VLEK, b"vlek"), (CRL, b"crl")]);
    let have = endorsements_from_table(&table, false).unwrap();
    assert_eq!(have.vek, Some(Vek::Vcek(b"vcek".to_vec())));
    assert_eq!(have.ask.as_deref(), Some(&b"ask"[..]));
    assert_eq!(have.asvk, None);
    assert_eq!(have.ark.as_deref(), Some(&b"ark"[..]));
    assert_eq!(have.crl.as_deref(), Some(&b"crl"[..]));
}

#[test]
fn beside_a_vlek_the_issuer_is_the_asvk() {
    let have = endorsements_from_table(&table(&[(VLEK, b"vlek"), (ASK, b"issuer")]), true).unwrap();
    assert_eq!(have.vek, Some(Vek::Vlek(b"vlek".to_vec())));
    assert_eq!((have.ask, have.asvk.as_deref()), (None, Some(&b"issuer"[..])));
}

#[test]
fn no_table_and_an_empty_one_hold_nothing() {
    assert_eq!(endorsements_from_table(&[], false), Ok(Endorsements::default()));
    assert_eq!(endorsements_from_table(&[0; 4096], false), Ok(Endorsements::default()));
    assert_eq!(endorsements_from_table(&table(&[(VCEK, b"")]), false), Ok(Endorsements::default()));
}

#[test]
fn a_table_without_end_is_refused() {
    let whole = table(&[(VCEK, b"")]);
    assert_eq!(endorsements_from_table(&whole[..47], false), Err(TableError::Endless(47)));
    assert_eq!(endorsements_from_table(&[0; 23], false), Err(TableError::Endless(23)));
}

#[test]
fn entries_beyond_the_table_are_refused() {
    let mut truncated = table(&[(VCEK, b"certificate")]);
    truncated.pop();
    assert_eq!(
        endorsements_from_table(&truncated, false),
        Err(TableError::OutOfBounds { index: 0, end: 59, length: 58 })
    );
    let absurd = [header(VCEK, u32::MAX, u32::MAX), [0; 24]].concat();
    assert!(matches!(endorsements_from_table(&absurd, false), Err(TableError::OutOfBounds { .. })));
}

#[test]
fn overlapping_entries_are_refused() {
    let data = [0; 8];
    let shared = [&header(VCEK, 72, 8)[..], &header(ASK, 76, 4), &[0; 24], &data].concat();
    assert_eq!(endorsements_from_table(&shared, false), Err(TableError::Overlap(76)));
    let headers = [&header(VCEK, 0, 24)[..], &[0; 24], &data].concat();
    assert!(matches!(endorsements_from_table(&headers, false), Err(TableError::Overlap(_))));
}

#[test]
fn two_of_a_kind_are_refused() {
    let twice = table(&[(VCEK, b"one"), (VCEK, b"two")]);
    assert_eq!(endorsements_from_table(&twice, false), Err(TableError::Duplicate("VCEK")));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), vlek: bool) {
        let _unused = endorsements_from_table(&bytes, vlek);
    }

    #[test]
    fn no_headers_make_it_reach_outside(
        headers in proptest::collection::vec((0usize..6, 0u32..200, 0u32..200), 0..6),
        data in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let kinds = [ARK, ASK, VCEK, VLEK, CRL, 1];
        let mut bytes: Vec<u8> =
            headers.iter().flat_map(|(kind, offset, length)| header(kinds[*kind], *offset, *length)).collect();
        bytes.extend([0; 24]);
        let start = bytes.len();
        bytes.extend(&data);
        if let Ok(Endorsements { vek: Some(vek), .. }) = endorsements_from_table(&bytes, false) {
            prop_assert!(bytes[start..].windows(vek.der().len()).any(|window| window == vek.der()));
        }
    }
}

/// A well-formed table, as a host writes it.
pub(crate) fn table(entries: &[(u128, &[u8])]) -> Vec<u8> {
    let mut offset = u32::try_from(24 * (entries.len() + 1)).unwrap();
    let mut out = Vec::new();
    for (guid, bytes) in entries {
        let length = u32::try_from(bytes.len()).unwrap();
        out.extend(header(*guid, offset, length));
        offset += length;
    }
    out.extend([0; 24]);
    out.extend(entries.iter().flat_map(|(_, bytes)| *bytes));
    out
}

fn header(guid: u128, offset: u32, length: u32) -> [u8; 24] {
    let mut out = [0; 24];
    out[..16].copy_from_slice(&guid.to_be_bytes());
    out[16..20].copy_from_slice(&offset.to_le_bytes());
    out[20..].copy_from_slice(&length.to_le_bytes());
    out
}
