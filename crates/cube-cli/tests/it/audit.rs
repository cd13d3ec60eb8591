//! `cube audit verify` on logs that attestation-svc's own writer wrote.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use audit_log::{AuditLog, Event, Limits, Stamp};
use tempfile::TempDir;

use crate::tool::{Run, cube};

/// A log of eight records in several files.
fn log() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let now = Stamp { unix: 1_767_225_600, boot: Duration::from_secs(9) };
    let limits = Limits { segment_bytes: 500, segments: 9 };
    let mut log = AuditLog::open(folder.path(), limits, now).unwrap();
    for exit in 0..6 {
        log.append(&[Event::Stopped { exit }], now).unwrap();
    }
    let head = log.head().1.to_string();
    (folder, head)
}

fn segments(folder: &TempDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

async fn verify(folder: &TempDir, more: &[&str]) -> Run {
    let folder = folder.path().to_str().unwrap();
    cube(&[&["audit", "verify", folder], more].concat()).await
}

#[tokio::test]
async fn a_whole_log_shows_its_head_and_what_it_holds() {
    let (folder, head) = log();
    let run = verify(&folder, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains(&head) && run.stdout.contains("6 stopped"), "{}", run.stdout);
    let files: Vec<_> = segments(&folder).iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    assert!(files.len() > 2);
    let mut args = vec!["audit", "verify", "--json"];
    args.extend(files.iter().map(String::as_str));
    let json = cube(&args).await.json();
    assert_eq!((&json["whole"], &json["head"], &json["oldest"]), (&true.into(), &head.into(), &1.into()));
    assert_eq!(json["events"]["stopped"], 6);
}

#[tokio::test]
async fn an_altered_record_is_named() {
    let (folder, _) = log();
    let path = segments(&folder).remove(1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"time\":1", "\"time\":2", 1)).unwrap();
    let run = verify(&folder, &[]).await;
    assert_eq!(run.code, 10, "{}", run.stdout);
    let place = format!("{}, line 1", path.display());
    assert!(run.stdout.contains("BROKEN") && run.stdout.contains(&place), "{}", run.stdout);
    assert_eq!(verify(&folder, &["--json"]).await.json()["whole"], false);
}

#[tokio::test]
async fn a_head_that_was_known_tells_a_log_whose_end_is_gone() {
    let (folder, head) = log();
    assert_eq!(verify(&folder, &["--head", &head]).await.code, 0);
    fs::remove_file(segments(&folder).pop().unwrap()).unwrap();
    assert_eq!(verify(&folder, &[]).await.code, 0, "the chain alone does not tell");
    let run = verify(&folder, &["--head", &head]).await;
    assert_eq!(run.code, 10, "{}", run.stdout);
    assert!(run.stdout.contains(&head), "{}", run.stdout);
}

#[tokio::test]
async fn nothing_to_read_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let run = verify(&folder, &[]).await;
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    let run = verify(&folder, &["--head", "12"]).await;
    assert!(run.code == 2 && run.stderr.contains("64 hexadecimal"), "{}", run.stderr);
    assert_eq!(cube(&["audit", "verify"]).await.code, 2);
    assert_eq!(cube(&["audit", "verify", "/nowhere/at/all"]).await.code, 2);
}
