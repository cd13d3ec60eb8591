mod driver;

use std::thread;

use nix::errno::Errno;
use snp_evidence::{Endorsements, Vek};

use super::*;
use crate::{
    certificate_table::tests::{VCEK, table},
    tests::recorded::recorded,
};
use driver::{Driver, RequestState, open, platform, refused};

#[test]
fn a_report_comes_with_the_hosts_certificates() {
    let driver = Driver { table: table(&[(VCEK, b"vcek")]), ..Driver::default() };
    let (platform, state) = platform(driver);
    let evidence = platform.evidence(&[7; 64]).unwrap();
    assert_eq!(evidence.format, EvidenceFormat::AmdSevSnp);
    assert_eq!(evidence.report[0x50..0x90], [7; 64]);
    assert_eq!(evidence.report.len(), 1184);
    assert_eq!(evidence.endorsements.vek, Some(Vek::Vcek(b"vcek".to_vec())));
    assert!(state.lock().unwrap().requests.is_empty(), "requests are removed");
    assert!(state.lock().unwrap().locks.is_empty(), "locks are given back");
}

#[test]
fn recorded_answers_get_their_recorded_verdicts() {
    let Some((vectors, policy)) = recorded() else { return };
    for vector in vectors {
        let (report, table) = (Some(vector.report.clone()), vector.table.clone());
        let (platform, _) = platform(Driver { recorded: report, table, ..Driver::default() });
        vector.assert_is(&platform.evidence(&vector.report_data()).unwrap(), &policy);
    }
}

#[test]
fn a_lost_race_is_run_again() {
    for intruded in ["outblob", "auxblob"] {
        let (platform, state) = platform(Driver { intruders: 3, intruded, ..Driver::default() });
        let evidence = platform.evidence(&[7; 64]).unwrap();
        assert_eq!(evidence.report[0x50..0x90], [7; 64], "never the intruder's report, nor its table");
        assert_eq!(state.lock().unwrap().reports, 4, "{intruded}");
    }
}

#[test]
fn races_are_given_up_after_eight() {
    for intruded in ["outblob", "auxblob"] {
        let (platform, state) = platform(Driver { intruders: usize::MAX, intruded, ..Driver::default() });
        let error = platform.evidence(&[7; 64]).unwrap_err();
        assert!(matches!(error, PlatformError::Busy { .. }), "{error}");
        assert!(error.is_transient());
        assert_eq!(state.lock().unwrap().reports, 8);
        assert!(state.lock().unwrap().requests.is_empty());
    }
}

#[test]
fn a_race_is_told_as_such_even_where_it_leaves_no_report() {
    let failing = Driver { intruders: 1, fails: Some(("auxblob", Errno::EINVAL)), ..Driver::default() };
    let (platform, state) = platform(failing);
    let error = platform.evidence(&[7; 64]).unwrap_err();
    assert!(matches!(error, PlatformError::Firmware { .. }), "{error}");
    assert_eq!(state.lock().unwrap().reports, 2, "the first was run again");
}

#[test]
fn a_torn_report_is_refused() {
    for length in [0, 1183, 1185, 4000] {
        let (platform, _) = platform(Driver { report_len: length, ..Driver::default() });
        let error = platform.evidence(&[7; 64]).unwrap_err();
        assert!(matches!(&error, PlatformError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(&format!("holds {length} bytes")), "{error}");
    }
}

#[test]
fn a_former_report_is_refused() {
    let (platform, _) = platform(Driver { replays: true, ..Driver::default() });
    platform.evidence(&[7; 64]).unwrap();
    let error = platform.evidence(&[8; 64]).unwrap_err();
    assert!(matches!(error, PlatformError::OtherReportData { .. }), "{error}");
    assert!(error.to_string().contains("outblob"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn one_bit_of_the_report_data_off_is_refused() {
    for at in [0x50, 0x8f] {
        let mut report = vec![0; 1184];
        report[0x50..0x90].fill(7);
        report[at] ^= 1;
        let (platform, _) = platform(Driver { recorded: Some(report), ..Driver::default() });
        let error = platform.evidence(&[7; 64]).unwrap_err();
        assert!(matches!(error, PlatformError::OtherReportData { .. }), "{error}");
    }
}

#[test]
fn an_unreadable_table_is_as_good_as_none() {
    let (platform, _) = platform(Driver { table: vec![1; 100], ..Driver::default() });
    assert_eq!(platform.evidence(&[7; 64]).unwrap().endorsements, Endorsements::default());
}

#[test]
fn under_an_svsm_the_guests_own_privilege_level_is_asked_for() {
    for (floor, level) in [(None, 0), (Some("0\n"), 0), (Some("2\n"), 2), (Some("3\n"), 3)] {
        let (platform, _) = platform(Driver { floor, ..Driver::default() });
        assert_eq!(platform.evidence(&[7; 64]).unwrap().report[0x30], level);
    }
}

#[test]
fn a_privilege_level_that_there_is_not_is_refused() {
    for floor in ["4\n", "-1\n", "22\n", "\n"] {
        let (error, state) = refused(Driver { floor: Some(floor), ..Driver::default() });
        assert!(matches!(error, PlatformError::Malformed(_)), "{error}");
        assert!(error.to_string().contains("privlevel_floor"), "{error}");
        assert!(state.lock().unwrap().requests.is_empty());
    }
}

#[test]
fn another_kind_of_guest_is_told_by_name() {
    let (error, state) = refused(Driver { provider: "tdx_guest\n", ..Driver::default() });
    assert!(matches!(error, PlatformError::Absent { .. }));
    assert!(error.to_string().contains("tdx_guest"), "{error}");
    assert!(state.lock().unwrap().requests.is_empty(), "requests are removed");
}

#[test]
fn the_kernels_answers_are_sorted_by_what_to_do() {
    let at = |attribute, errno| {
        let (platform, state) = platform(Driver::default());
        state.lock().unwrap().fails = Some((attribute, errno));
        let error = platform.evidence(&[7; 64]).unwrap_err();
        assert!(error.to_string().contains(attribute), "{error}");
        error
    };
    assert!(matches!(at("inblob", Errno::EACCES), PlatformError::PermissionDenied { .. }));
    assert!(matches!(at("inblob", Errno::EBUSY), PlatformError::Busy { .. }));
    assert!(matches!(at("provider", Errno::EIO), PlatformError::Io { .. }));
    assert!(matches!(at("outblob", Errno::EAGAIN), PlatformError::Throttled { .. }));
    assert!(matches!(at("outblob", Errno::EINTR), PlatformError::Throttled { .. }));
    for errno in [Errno::ENOTTY, Errno::ETIMEDOUT] {
        let error = at("outblob", errno);
        assert!(matches!(error, PlatformError::VmpckDisabled { .. }), "{error}");
        assert!(!error.is_transient(), "only a restart helps");
    }
    for errno in [Errno::EIO, Errno::EINVAL, Errno::ENXIO, Errno::EBADMSG] {
        let error = at("outblob", errno);
        assert!(matches!(error, PlatformError::Firmware { .. }), "{error}");
    }
    assert!(matches!(at("outblob", Errno::ENOMEM), PlatformError::Io { .. }));
    assert!(matches!(at("auxblob", Errno::EIO), PlatformError::Firmware { .. }));
}

#[test]
fn the_kernels_own_words_are_part_of_the_line() {
    let (platform, state) = platform(Driver::default());
    state.lock().unwrap().fails = Some(("outblob", Errno::ENOMEM));
    let line = platform.evidence(&[7; 64]).unwrap_err().to_string();
    assert!(line.contains("(Cannot allocate memory (os error 12))"), "{line}");
}

#[test]
fn requests_that_may_not_be_made_or_written_to_are_told_at_the_start() {
    let (error, _) = refused(Driver { fails: Some(("cube-", Errno::EACCES)), ..Driver::default() });
    assert!(matches!(error, PlatformError::PermissionDenied { .. }), "{error}");
    let (error, state) = refused(Driver { fails: Some(("inblob", Errno::EACCES)), ..Driver::default() });
    assert!(matches!(error, PlatformError::PermissionDenied { .. }), "{error}");
    let driver = state.lock().unwrap();
    assert_eq!((driver.requests.len(), driver.reports), (0, 0), "it costs no report");
    let (error, _) = refused(Driver { fails: Some(("cube-", Errno::ENXIO)), ..Driver::default() });
    assert!(matches!(error, PlatformError::Absent { .. }), "no driver is registered: {error}");
}

#[test]
fn a_missing_root_means_no_device() {
    let folder = tempfile::tempdir().unwrap();
    let error = ConfigfsTsm::open(folder.path().join("report")).unwrap_err();
    assert!(matches!(&error, PlatformError::Absent { .. }));
    assert!(error.to_string().contains("CONFIG_SEV_GUEST"), "{error}");
}

#[test]
fn the_request_of_a_killed_process_is_removed_at_the_next_start() {
    let (killed, foreign) = (
        "/fake/cube-0123456789abcdef",
        ["/fake/report0", "/fake/cube-agent", "/fake/cube-0123", "/fake/cube-0123456789abcdeg"],
    );
    let mut driver = Driver::default();
    for path in foreign.iter().chain([&killed]) {
        driver.requests.insert(path.into(), RequestState::default());
    }
    let (_, state) = platform(driver);
    let left = &state.lock().unwrap().requests;
    assert!(!left.contains_key(Path::new(killed)));
    assert!(foreign.iter().all(|path| left.contains_key(Path::new(path))), "others' are not ours to remove");
}

#[test]
fn the_request_of_a_live_process_stays_however_slow_its_device_is() {
    let (slow, state) = platform(Driver::default());
    let (waits, go) = state.lock().unwrap().stall();
    let waiting = thread::spawn(move || slow.evidence(&[7; 64]));
    waits.recv().unwrap();

    let other = open(&state).unwrap();
    assert_eq!(state.lock().unwrap().requests.len(), 1, "the slow one's");
    assert_eq!(other.evidence(&[8; 64]).unwrap().report[0x50..0x90], [8; 64]);
    drop(go);
    assert_eq!(waiting.join().unwrap().unwrap().report[0x50..0x90], [7; 64]);
    assert!(state.lock().unwrap().requests.is_empty());
}

#[test]
fn a_request_taken_for_a_leftover_is_made_anew() {
    let (platform, state) = platform(Driver::default());
    state.lock().unwrap().snatched = 3;
    platform.evidence(&[7; 64]).unwrap();
    assert_eq!(state.lock().unwrap().requests.len(), 3, "whoever holds them removes them");

    state.lock().unwrap().snatched = usize::MAX;
    assert!(matches!(platform.evidence(&[7; 64]).unwrap_err(), PlatformError::Busy { .. }));
}

#[test]
fn where_nothing_can_be_locked_there_are_reports_and_no_tidying() {
    let mut driver = Driver { unlockable: Some(Errno::ENOLCK), ..Driver::default() };
    driver.requests.insert("/fake/cube-0123456789abcdef".into(), RequestState::default());
    let (platform, state) = platform(driver);
    platform.evidence(&[7; 64]).unwrap();
    assert_eq!(state.lock().unwrap().requests.len(), 1);
}
