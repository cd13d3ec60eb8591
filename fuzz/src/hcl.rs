//! A paravisor's report: accepted only in the form that Azure's have, with the runtime data that the vTPM's key is in.

use crate::{
    azure::{AZURE, runtime_data, runtime_start, vouched, word},
    seeds,
};

pub fn seed() {
    seeds::write(seeds::captured("hcl_report.bin").into_iter().chain([AZURE.genuine.hcl_report.clone()]));
}

pub fn run(data: &[u8]) {
    let found = AZURE.judge(&AZURE.with_hcl(data.to_vec()));
    assert!(found.is_err() || says_the_same(data));
    let Some(vouched) = vouched(data) else { return };
    if AZURE.judge(&AZURE.with_hcl(vouched)).is_ok() {
        assert!(has_azures_form(data));
    }
}

/// Up to what nobody signs: the header's version, and zeros at the end.
fn says_the_same(hcl: &[u8]) -> bool {
    let genuine = &AZURE.genuine.hcl_report;
    runtime_data(hcl) == runtime_data(genuine) && hcl[0x20..0x4C0] == genuine[0x20..0x4C0]
}

/// Magic, versions, sizes that agree, type and hash, and nothing but zeros behind.
fn has_azures_form(hcl: &[u8]) -> bool {
    let words = |ats: &[usize]| ats.iter().map(|at| word(hcl, *at).unwrap()).collect::<Vec<_>>();
    let end = runtime_start(hcl).unwrap() + word(hcl, 0x4D0).unwrap();
    hcl.starts_with(b"HCLA")
        && matches!(words(&[0x4, 0x4C4])[..], [1 | 2, 1 | 2])
        && words(&[0x8, 0xC, 0x10, 0x14, 0x18, 0x1C]) == [end, 2, 0, 0, 0, 0]
        && words(&[0x4C0, 0x4C8, 0x4CC]) == [end - 0x4C0, 2, 1]
        && hcl[end..].iter().all(|byte| *byte == 0)
}
