//! A log under crashes, a full disk, and hands that alter it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::log::faults;
use crate::*;

const NOW: Stamp = Stamp { unix: 1_767_225_600, boot: Duration::from_millis(1_234) };
const SMALL: Limits = Limits { segment_bytes: 600, segments: 3 };

fn folder() -> TempDir {
    // In memory, where there is such a folder: thousands of flushes.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn open(folder: &TempDir, limits: Limits) -> AuditLog {
    AuditLog::open(folder.path(), limits, NOW).unwrap()
}

fn enrolled(number: u64) -> Event {
    Event::Enrolled {
        identity: "gateway".to_owned(),
        pid: Some(7),
        svid_serial: "0a\"\u{1b}ü".to_owned(),
        manifest_version: number,
    }
}

/// A log of `records` records in one segment.
fn written(records: u64) -> (TempDir, PathBuf) {
    let folder = folder();
    let mut log = open(&folder, Limits::default());
    (0..records).for_each(|number| log.append(&[enrolled(number)], NOW).unwrap());
    let path = files(&folder)[0].clone();
    (folder, path)
}

fn files(folder: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn whole(folder: &TempDir) -> Result<Summary, VerifyError> {
    verify(&[folder.path().to_owned()], None)
}

fn broken(found: Result<Summary, VerifyError>) -> (u64, Broken) {
    let found = found.unwrap_err();
    let VerifyError::Broken { line, broken, .. } = found else { panic!("{found}") };
    (line, broken)
}

/// The lines of a file, each with its end.
fn lines(path: &Path) -> Vec<Vec<u8>> {
    fs::read(path).unwrap().split_inclusive(|byte| *byte == b'\n').map(Vec::from).collect()
}

#[test]
fn what_is_written_is_read_again_and_goes_on_after_a_restart() {
    let folder = folder();
    let mut log = open(&folder, Limits::default());
    assert_eq!(log.head(), (0, Hash::NONE));
    log.append(&[enrolled(1), enrolled(2)], NOW).unwrap();
    let head = log.head();
    drop(log);
    let mut log = open(&folder, Limits::default());
    assert_eq!(log.head(), head);
    log.append(&[Event::Stopped { exit: 0 }], NOW).unwrap();

    let found = verify(&[folder.path().to_owned()], Some(head.1)).unwrap();
    assert_eq!((found.segments, found.oldest, found.last), (1, 1, 3));
    assert_eq!((found.last, found.head), log.head());
    assert_eq!(found.known, Some(2));
    assert_eq!(found.events.into_iter().collect::<Vec<_>>(), [("enrolled".into(), 2), ("stopped".into(), 1)]);
}

#[test]
fn the_form_of_a_line_does_not_change_unnoticed() {
    let (_folder, path) = written(1);
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(
        text,
        "{\"seq\":1,\"time\":1767225600,\"boot_time_ms\":1234,\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\
         \"event\":\"enrolled\",\"identity\":\"gateway\",\"pid\":7,\"svid_serial\":\"0a\\\"\\u001bü\",\"manifest_version\":0,\
         \"hash\":\"ea44689aaeaa8673484362993555cfc1a97f4c4b62bb5aaad1823a13731e6c3e\"}\n"
    );
}

#[test]
fn a_crash_in_the_last_record_is_cut_off_and_recorded_at_every_byte() {
    let (folder, path) = written(3);
    let (bytes, last) = (fs::read(&path).unwrap(), lines(&path)[2].len());
    let kept = bytes.len() - last;
    for cut in kept..bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        if cut > kept {
            assert_eq!(broken(whole(&folder)), (3, Broken::Torn((cut - kept) as u64)));
        }
        open(&folder, Limits::default()).append(&[enrolled(9)], NOW).unwrap();
        let events = whole(&folder).unwrap().events;
        let repairs = u64::from(cut > kept);
        assert_eq!((events["enrolled"], events.get("repaired").copied().unwrap_or(0)), (3, repairs), "{cut}");
    }
}

#[test]
fn a_tail_of_zeros_is_cut_off_however_long() {
    let (folder, path) = written(2);
    for zeros in [1, MAX_LINE, 3 * MAX_LINE] {
        let length = fs::metadata(&path).unwrap().len() + zeros as u64;
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        drop(open(&folder, Limits::default()));
        whole(&folder).unwrap();
    }
    assert_eq!(whole(&folder).unwrap().events["repaired"], 3);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (folder, path) = written(2);
    let bytes = fs::read(&path).unwrap();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << bit;
            fs::write(&path, &altered).unwrap();
            let (line, _) = broken(whole(&folder));
            let own = bytes[..place].split(|byte| *byte == b'\n').count() as u64;
            assert_eq!(line, own, "byte {place}, bit {bit}");
        }
    }
}

#[test]
fn what_is_altered_is_not_repaired() {
    let (folder, path) = written(3);
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = AuditLog::open(folder.path(), Limits::default(), NOW).unwrap_err();
    assert!(matches!(refused, OpenError::Broken(VerifyError::Broken { line: 1, .. })), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // Nor is a line without end that others follow.
    fs::write(&path, [vec![b'x'; 2 * MAX_LINE], b"\n{}\n".to_vec()].concat()).unwrap();
    assert_eq!(broken(whole(&folder)), (1, Broken::Long));
    AuditLog::open(folder.path(), Limits::default(), NOW).unwrap_err();
}

#[test]
fn lines_that_are_missing_doubled_or_out_of_order_are_named() {
    let (folder, path) = written(4);
    let good = lines(&path);
    let seq = |expected, found| Broken::Seq { expected, found };
    for (order, line, why) in [
        (&[0, 2, 3][..], 2, seq(2, 3)),
        (&[0, 1, 1, 2, 3], 3, seq(3, 2)),
        (&[0, 2, 1, 3], 2, seq(2, 3)),
        (&[1, 2, 3], 1, Broken::Name(2)),
    ] {
        fs::write(&path, order.iter().flat_map(|line| good[*line].clone()).collect::<Vec<_>>()).unwrap();
        assert_eq!(broken(whole(&folder)), (line, why), "{order:?}");
    }
    // A record of another log that would be next by its number.
    let (_other, foreign) = written(2);
    let mut spliced = good.clone();
    spliced[1] = lines(&foreign)[1].clone();
    fs::write(&path, spliced.concat()).unwrap();
    whole(&folder).expect("the same events at the same time are the same chain");
    let other = {
        let other = self::folder();
        let mut log = open(&other, Limits::default());
        log.append(&[enrolled(8), enrolled(9)], NOW).unwrap();
        lines(&files(&other)[0])
    };
    spliced[1] = other[1].clone();
    fs::write(&path, spliced.concat()).unwrap();
    assert_eq!(broken(whole(&folder)), (2, Broken::Prev));
}

#[test]
fn segments_are_bounded_in_size_and_number_and_carry_the_head() {
    let folder = folder();
    let mut log = open(&folder, SMALL);
    for number in 0..40 {
        log.append(&[enrolled(number)], NOW).unwrap();
        assert!(files(&folder).len() <= SMALL.segments as usize);
    }
    let files = files(&folder);
    assert!(files.iter().all(|path| fs::metadata(path).unwrap().len() < u64::from(2 * SMALL.segment_bytes)));
    let found = whole(&folder).unwrap();
    assert_eq!((found.segments, (found.last, found.head)), (3, log.head()));
    let first = Record::read_line(&lines(&files[2])[0]);
    assert_eq!(first.event, Event::Segment { oldest: found.oldest });
    drop(log);
    assert_eq!(open(&folder, SMALL).head(), (found.last, found.head));
}

#[test]
fn segments_that_are_missing_or_exchanged_are_noticed() {
    let folder = folder();
    let mut log = open(&folder, SMALL);
    (0..8).for_each(|number| log.append(&[enrolled(number)], NOW).unwrap());
    let all = files(&folder);
    verify(&all, None).unwrap();
    let claimed = whole(&folder).unwrap().oldest;
    let exchanged = [all[1].clone(), all[0].clone(), all[2].clone()];
    assert!(matches!(broken(verify(&exchanged, None)), (1, Broken::Seq { .. })));
    let kept = folder.path().join("kept");
    fs::rename(&all[0], &kept).unwrap();
    let removed = whole(&folder).unwrap_err();
    assert!(matches!(removed, VerifyError::Removed { oldest, .. } if oldest == claimed), "{removed}");
    verify(&all[1..], None).expect("files that were named one by one may be a part");
    fs::rename(&kept, &all[0]).unwrap();
    fs::rename(&all[1], &kept).unwrap();
    assert!(matches!(broken(whole(&folder)), (1, Broken::Seq { .. })));
    fs::rename(&all[0], &all[1]).unwrap();
    assert!(matches!(broken(whole(&folder)), (1, Broken::Name(_))));
}

#[test]
fn a_crash_between_two_segments_is_repaired() {
    let folder = folder();
    let mut log = open(&folder, SMALL);
    while files(&folder).len() < 2 {
        log.append(&[enrolled(1)], NOW).unwrap();
    }
    drop(log);
    let newest = files(&folder)[1].clone();
    let line = lines(&newest)[0].clone();
    for cut in 0..line.len() {
        fs::write(&newest, &line[..cut]).unwrap();
        open(&folder, SMALL).append(&[enrolled(2)], NOW).unwrap();
        assert_eq!(whole(&folder).unwrap().segments, 2, "{cut}");
    }
}

#[test]
fn a_full_disk_refuses_and_takes_back_and_room_lets_it_go_on() {
    let (folder, path) = written(2);
    let mut log = open(&folder, Limits::default());
    let (head, bytes) = (log.head(), fs::read(&path).unwrap());
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let real = faults::swap(&mut log, full);
    for _ in 0..2 {
        log.append(&[enrolled(3)], NOW).unwrap_err();
        assert_eq!((log.head(), fs::read(&path).unwrap()), (head, bytes.clone()));
    }
    // A part of the record was written before the disk was full.
    faults::swap(&mut log, real);
    fs::write(&path, [bytes.as_slice(), b"{\"seq\":3,"].concat()).unwrap();
    log.append(&[enrolled(3)], NOW).unwrap();
    let found = whole(&folder).unwrap();
    assert_eq!((found.last, found.events.get("repaired")), (3, None));
}

/// A file system of 64 KiB; unmounted at the end.
struct Small(TempDir);

impl Small {
    /// `None` for users who may not mount.
    fn mount() -> Option<Self> {
        let folder = folder();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(self.0.path()).output());
    }
}

#[test]
fn a_file_system_without_room_loses_nothing_that_was_answered() {
    let Some(small) = Small::mount() else {
        println!("skipped: this user may not mount a small file system");
        return;
    };
    let filler = small.0.path().join("filler");
    fs::write(&filler, vec![0; 20_000]).unwrap();
    for limits in
        [Limits { segment_bytes: 4_000, segments: 100 }, Limits { segment_bytes: 1 << 20, segments: 2 }]
    {
        let mut log = open(&small.0, limits);
        let mut answered = log.head();
        while log.append(&[enrolled(answered.0), enrolled(0)], NOW).is_ok() {
            answered = log.head();
        }
        assert_eq!(log.head(), answered);
        drop(log);
        let found = whole(&small.0);
        // A part of what failed may be there, as after a crash.
        assert!(found.is_err() || found.is_ok_and(|found| (found.last, found.head) == answered));

        fs::remove_file(&filler).unwrap();
        let mut log = open(&small.0, limits);
        log.append(&[enrolled(1)], NOW).unwrap();
        let found = verify(&[small.0.path().to_owned()], Some(answered.1)).unwrap();
        assert_eq!((found.known, found.last), (Some(answered.0), log.head().0));
        drop(log);
        for path in files(&small.0) {
            fs::remove_file(path).unwrap();
        }
        fs::write(&filler, vec![0; 20_000]).unwrap();
    }
}

#[test]
fn a_folder_that_is_gone_refuses_records() {
    let (folder, path) = written(1);
    let mut log = open(&folder, Limits::default());
    fs::remove_file(path).unwrap();
    log.append(&[enrolled(2)], NOW).unwrap_err();
}

#[test]
fn the_folder_is_private_and_has_one_writer() {
    let folder = folder();
    let kept = open(&folder, Limits::default());
    let again = || AuditLog::open(folder.path(), Limits::default(), NOW);
    assert!(matches!(again().unwrap_err(), OpenError::InUse(_)));
    drop(kept);
    for mode in [0o750, 0o701, 0o777] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(again().unwrap_err(), OpenError::NotPrivate(_)));
    }
    let new = folder.path().join("a/b");
    drop(AuditLog::open(&new, Limits::default(), NOW).unwrap());
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o700);
    let file = new.join("audit-00000000000000000001.jsonl");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    drop(File::open(&new).unwrap());
}

#[test]
fn what_is_no_record_is_refused() {
    let (_folder, path) = written(1);
    let good = String::from_utf8(lines(&path)[0].clone()).unwrap();
    let good = good.trim_end();
    assert!(Record::read(good.as_bytes()).is_some());
    for (from, to) in [
        ("\"pid\":7", "\"pid\":07"),
        ("\"pid\":7", "\"pid\": 7"),
        ("\"pid\":7", "\"pid\":7,\"more\":1"),
        ("\"pid\":7,", ""),
        ("\"pid\":7", "\"pid\":7,\"pid\":7"),
        ("\"enrolled\"", "\"elected\""),
        ("\"time\":1", "\"time\":-1"),
    ] {
        // Even where its hash fits.
        let altered = rehashed(&good.replacen(from, to, 1));
        let read = Record::read(altered.as_bytes());
        assert_eq!(read.is_some(), to.contains("-1"), "{altered}");
    }
}

/// `line` with the hash that its other bytes ask for.
fn rehashed(line: &str) -> String {
    let body = &line[..line.len() - 75];
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    format!("{body},\"hash\":\"{}\"}}", hex::encode(hash))
}

impl Record {
    fn read_line(line: &[u8]) -> Self {
        Self::read(line.strip_suffix(b"\n").unwrap()).unwrap()
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(Record::read(&bytes), None);
    }

    #[test]
    fn any_text_survives(text in "\\PC{0,60}", unix in any::<i64>(), uid in any::<Option<u32>>()) {
        let event = Event::Admin {
            uid, pid: None, call: "Revoke".into(), target: None, reason: Some(text), outcome: "done".into(),
            epoch: u64::MAX, min_epoch: 0,
        };
        let (line, hash) = Record::write(u64::MAX, Stamp { unix, boot: Duration::MAX }, Hash::NONE, event.clone()).unwrap();
        let read = Record::read_line(line.as_bytes());
        prop_assert_eq!((read.event, read.hash), (event, hash));
    }
}
