//! `cube key new`, and that the gateway reads what it wrote.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::tool::cube;

#[tokio::test]
async fn a_key_is_shown_once_and_its_digest_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let path = file.to_str().unwrap();
    let new = async |more: &[&str]| cube(&[&["key", "new", "--keys", path], more].concat()).await;
    let first = new(&["--name", "a", "--expires", "never", "--model", "*"]).await;
    let second = new(&[
        "--name",
        "b",
        "--expires",
        "2027-01-01T00:00:00Z",
        "--model",
        "m:7b",
        "--model",
        "org/x",
        "--concurrent",
        "2",
        "--per-minute",
        "60",
    ])
    .await;
    for run in [&first, &second] {
        assert_eq!(run.code, 0, "{}", run.stderr);
        let key = run.stdout.trim();
        assert!(key.starts_with("cube-") && key.len() == 48, "{key}");
        assert!(!run.stderr.contains(key));
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(first.stdout.trim()) && !text.contains(second.stdout.trim()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let parsed: toml::Table = text.parse().unwrap();
    let keys = parsed["key"].as_array().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, first.stdout.trim().as_bytes());
    assert_eq!(keys[0]["sha256"].as_str().unwrap(), hex::encode(digest));
    assert_eq!(
        (keys[1]["models"].as_array().unwrap().len(), keys[1]["per_minute"].as_integer()),
        (2, Some(60))
    );

    let twice = new(&["--name", "a", "--expires", "never", "--model", "*"]).await;
    assert!(twice.code == 2 && twice.stderr.contains("has a key of that name"), "{}", twice.stderr);
    for wrong in [
        &["--name", "a b", "--expires", "never", "--model", "*"],
        &["--name", "c", "--expires", "soon", "--model", "*"],
        &["--name", "c", "--expires", "never", "--model", "\""],
    ] {
        assert_eq!(new(wrong).await.code, 2, "{wrong:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}
