//! A report: what the processor signs is accepted only where all that is reserved is zero, it is read as it stands, and no
//! bit of it can be another afterwards.

use std::ops::Range;

use snp_evidence::{Evidence, ReportFacts};
use snp_simulator::layout;

use crate::{
    machine::{MACHINE, somewhere},
    seeds,
};

pub fn seed() {
    seeds::write(seeds::captured("report.bin").into_iter().chain([MACHINE.genuine.report.clone()]));
}

pub fn run(data: &[u8]) {
    if MACHINE.reads_report(data) {
        assert!(data.len() == layout::REPORT_LEN && signature_is_padded(data) && reserved_is_zero(data));
        let evidence = MACHINE.evidence(data.to_vec());
        assert!(MACHINE.examine(&evidence).is_err() || evidence == MACHINE.genuine);
    }
    let Some(body) = data.get(..layout::BODY_LEN) else { return };
    let report = MACHINE.processor.sign_body(&as_the_processor_writes(body)).unwrap();
    if MACHINE.reads_report(&report) {
        judge_signed(report, data);
    }
}

/// What the guest and its host cannot choose.
fn as_the_processor_writes(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let with_cpuid = body[layout::VERSION.start] > 2;
    let own = [layout::CHIP_ID, layout::REPORTED_TCB].into_iter().chain(with_cpuid.then_some(layout::CPUID));
    for field in own {
        body[field.clone()].copy_from_slice(&MACHINE.genuine.report[field]);
    }
    body
}

fn judge_signed(report: Vec<u8>, data: &[u8]) {
    let mut evidence = MACHINE.evidence(report);
    let Ok(facts) = MACHINE.examine(&evidence) else { return };
    assert!(reserved_is_zero(&evidence.report) && turins_reserved_is_zero(&evidence.report));
    assert_eq!(evidence.report[layout::SIGNATURE_ALGO], [1, 0, 0, 0]);
    assert_read_as_it_stands(&facts, &evidence);
    let bit = somewhere(data, 8 * evidence.report.len());
    evidence.report[bit / 8] ^= 1 << (bit % 8);
    assert!(MACHINE.examine(&evidence).is_err(), "bit {bit} may be flipped");
}

fn assert_read_as_it_stands(facts: &ReportFacts, evidence: &Evidence) {
    let field = |range: Range<usize>| &evidence.report[range];
    assert_eq!(facts.version().to_le_bytes(), field(layout::VERSION));
    assert_eq!(facts.vmpl().to_le_bytes(), field(layout::VMPL));
    assert_eq!(facts.measurement(), field(layout::MEASUREMENT));
    assert_eq!(facts.host_data(), field(layout::HOST_DATA));
    assert_eq!(facts.report_data(), field(layout::REPORT_DATA));
    assert_eq!(facts.chip_id(), &field(layout::CHIP_ID)[..8]);
    assert_eq!(facts.debug_allowed(), field(layout::POLICY)[2] & 1 << 3 != 0);
}

/// By the layout that the simulator writes by.
fn reserved_is_zero(report: &[u8]) -> bool {
    let mut fields = vec![
        layout::VERSION,
        layout::GUEST_SVN,
        layout::POLICY,
        layout::FAMILY_ID,
        layout::IMAGE_ID,
        layout::VMPL,
        layout::SIGNATURE_ALGO,
        layout::CURRENT_TCB,
        layout::PLATFORM_INFO,
        layout::KEY_INFO,
        layout::REPORT_DATA,
        layout::MEASUREMENT,
        layout::HOST_DATA,
        layout::ID_KEY_DIGEST,
        layout::AUTHOR_KEY_DIGEST,
        layout::REPORT_ID,
        layout::REPORT_ID_MA,
        layout::REPORTED_TCB,
        layout::CHIP_ID,
        layout::COMMITTED_TCB,
        layout::CURRENT_FIRMWARE,
        layout::COMMITTED_FIRMWARE,
        layout::LAUNCH_TCB,
    ];
    let version = report[0];
    fields.extend((version > 2).then_some(layout::CPUID));
    fields.extend((version > 4).then_some(layout::LAUNCH_MIT_VECTOR));
    fields.extend((version > 4).then_some(layout::CURRENT_MIT_VECTOR));
    let reserved = |at: &usize| !fields.iter().any(|field| field.contains(at));
    (2..=5).contains(&version) && (0..layout::BODY_LEN).filter(reserved).all(|at| report[at] == 0)
}

fn turins_reserved_is_zero(report: &[u8]) -> bool {
    let tcbs = [layout::CURRENT_TCB, layout::REPORTED_TCB, layout::COMMITTED_TCB, layout::LAUNCH_TCB];
    tcbs.into_iter().all(|tcb| report[tcb][4..7] == [0; 3])
}

fn signature_is_padded(report: &[u8]) -> bool {
    let numbers = [layout::SIGNATURE_R, layout::SIGNATURE_S];
    numbers.into_iter().all(|number| report[number][48..].iter().all(|byte| *byte == 0))
        && report[layout::SIGNATURE_S.end..].iter().all(|byte| *byte == 0)
}
