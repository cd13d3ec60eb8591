use super::*;

/// What the keys of these tests are for.
const FOR: &str = "A test.";
const SECOND: Duration = Duration::from_secs(1);

fn settings(text: &str) -> Settings {
    Settings::parse("/etc/cube".into(), text.as_bytes()).unwrap()
}

/// What `read` leaves behind of `text`.
fn problems<T>(text: &str, read: impl FnOnce(&mut Settings) -> T) -> String {
    let mut settings = settings(text);
    read(&mut settings);
    settings.finish().unwrap_err().to_string()
}

#[test]
fn every_type_is_read() {
    let text = "dir = \"run\"\nabsolute = \"/run\"\nfar = \"10.0.0.1:1\"\nnear = \"[::1]:2\"\nuid = 0\n\
                names = [\"a\", \"b\"]\n[limits]\nidle = 7\nmost = 8\n[a.b]\nc = \"deep\"\n";
    let mut settings = settings(text);
    assert_eq!(settings.path("dir", FOR), Some("/etc/cube/run".into()));
    assert_eq!(settings.optional_path("absolute", FOR), Some("/run".into()));
    assert_eq!(settings.optional_path("nowhere", FOR), None);
    assert_eq!(settings.address("far", FOR), "10.0.0.1:1".parse().ok());
    assert_eq!(settings.loopback("near", FOR), "[::1]:2".parse().ok());
    assert_eq!(settings.number("uid", FOR, 0..=9), Some(0));
    assert_eq!(settings.list("names", FOR, "", str::parse::<char>), Some(vec!['a', 'b']));
    assert_eq!(settings.seconds("limits.idle", FOR, SECOND), Duration::from_secs(7));
    assert_eq!(settings.count("limits.most", FOR, 1_usize), 8);
    assert_eq!(
        (settings.count("limits.other", FOR, 9_u32), settings.bytes("limits.size", FOR, 2, 3)),
        (9, 3)
    );
    assert_eq!(settings.parsed("a.b.c", FOR, "", str::parse::<String>).as_deref(), Some("deep"));
    assert_eq!(settings.parsed_or("log.level", FOR, "", "5", str::parse::<u8>), Some(5));
    let shown: Vec<_> = settings.finish().unwrap().iter().map(ToString::to_string).collect();
    for line in [
        "dir = \"run\"",
        "nowhere  (not set)",
        "uid = 0",
        "names = [\"a\", \"b\"]",
        "limits.idle = 7",
        "limits.size = 3  (default)",
        "a.b.c = \"deep\"",
        "log.level = \"5\"  (default)",
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line} in {shown:?}");
    }
}

#[test]
fn a_required_key_must_be_there() {
    assert!(problems("", |s| s.path("run_dir", FOR)).contains("run_dir: is missing"));
    assert!(problems("", |s| s.number("uid", FOR, 0..=9)).contains("uid: is missing"));
    assert!(problems("", |s| s.list("names", FOR, "", str::parse::<u8>)).contains("names: is missing"));
}

#[test]
fn a_value_of_another_type_is_refused() {
    let text =
        "a = 1\nb = \"1\"\nc = \"x\"\nd = [1, 2, \"x\"]\ne = []\nf = \"\"\nlimits = 3\n[log]\nlevel = 1\n";
    let found = problems(text, |s| {
        s.address("a", FOR);
        s.number("b", FOR, 0..=9);
        s.list("c", FOR, "", str::parse::<char>);
        s.list("d", FOR, "", str::parse::<u8>);
        s.list("e", FOR, "", str::parse::<char>);
        s.path("f", FOR);
        s.seconds("limits.idle", FOR, SECOND);
        s.parsed_or("log.level", FOR, "", "0", str::parse::<u8>);
    });
    for part in [
        "a: is of type integer, must be a text",
        "b: is of type string, must be a whole number from 0 to 9",
        "c: must be a list of texts",
        "d: is of type integer",
        "d: invalid digit",
        "e: must be a list of texts with at least one",
        "f: is empty",
        "limits: must be a table, [limits]",
        "log.level: is of type integer",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert_eq!(found.matches("d: is of type integer").count(), 2);
}

#[test]
fn a_value_out_of_range_is_refused() {
    for (seconds, is) in
        [("0", "0"), ("-1", "-1"), ("86401", "86401"), ("1.5", "of type float"), ("\"1\"", "of type string")]
    {
        let found = problems(&format!("idle = {seconds}"), |s| s.seconds("idle", FOR, SECOND));
        let told = format!("idle: is {is}, must be a whole number from 1 to 86400");
        assert!(found.contains(&told), "{seconds}: {found}");
    }
    assert!(
        problems("most = 0", |s| s.count("most", FOR, 1_u32))
            .contains("most: is 0, must be a whole number from 1 to 4294967295")
    );
    assert!(problems("uid = 10", |s| s.number("uid", FOR, 0..=9)).contains("uid: is 10, must be"));
    assert!(
        problems("size = 9", |s| s.bytes("size", FOR, 10, 20)).contains("must be a whole number from 10 to")
    );
}

#[test]
fn what_must_stay_on_the_machine_does() {
    let found = problems("adapter = \"10.0.0.1:1\"", |s| s.loopback("adapter", FOR));
    assert!(found.contains("adapter: 10.0.0.1:1 is not a loopback address"), "{found}");
    assert!(problems("adapter = \"there\"", |s| s.loopback("adapter", FOR)).contains("is not ADDRESS:PORT"));
}

#[test]
fn every_unknown_key_is_named() {
    let found = problems("a = 1\n[b]\n[limits]\nidle = 1\nidel = 1\n[limits.deep]\nx = 1\n", |s| {
        s.seconds("limits.idle", FOR, SECOND)
    });
    for part in ["a: unknown", "b: unknown", "limits.idel: unknown", "limits.deep: unknown"] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert!(!found.contains("limits.idle:"), "{found}");
}

#[test]
fn a_file_that_is_named_is_read() {
    let found =
        problems("policy = \"/nonexistent/policy.toml\"", |s| s.file("policy", FOR, |_| Ok::<_, String>(())));
    assert!(found.contains("policy: /nonexistent/policy.toml: cannot be opened"), "{found}");
}

#[test]
fn what_is_no_toml_is_refused() {
    for text in [&b"listen ="[..], b"a = 1\na = 2", &[0xff]] {
        assert!(!Settings::parse("/".into(), text).unwrap_err().is_empty());
    }
}

#[test]
fn the_keys_are_known_without_a_file() {
    let keys = Settings::keys_of(|s| {
        s.number("uid", FOR, 0..=9);
        s.optional_path("folder", FOR);
        s.count("limits.most", "Another.", 7_usize);
    });
    let facts: Vec<_> = keys.iter().map(|k| (k.name.as_str(), k.purpose, k.kind, k.range.as_str())).collect();
    let expected = [
        ("uid", FOR, "number", "0 to 9"),
        ("folder", FOR, "path", ""),
        ("limits.most", "Another.", "number", "1 to 4294967295"),
    ];
    assert_eq!(facts, expected);
    let absent: Vec<_> = keys.into_iter().map(|key| key.absent).collect();
    assert_eq!(absent, [Absent::Refused, Absent::Unset, Absent::Default(Value::Integer(7))]);
}
