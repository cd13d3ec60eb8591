use super::*;

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
    assert_eq!(settings.path("dir"), Some("/etc/cube/run".into()));
    assert_eq!(settings.optional_path("absolute"), Some("/run".into()));
    assert_eq!(settings.optional_path("nowhere"), None);
    assert_eq!(settings.address("far"), "10.0.0.1:1".parse().ok());
    assert_eq!(settings.loopback("near"), "[::1]:2".parse().ok());
    assert_eq!(settings.number("uid", 0..=9), Some(0));
    assert_eq!(settings.list("names", str::parse::<char>), Some(vec!['a', 'b']));
    assert_eq!(settings.seconds("limits.idle", Duration::ZERO), Duration::from_secs(7));
    assert_eq!((settings.count("limits.most", 1_usize), settings.count("limits.other", 9_u32)), (8, 9));
    assert_eq!(settings.parsed("a.b.c", str::parse::<String>).as_deref(), Some("deep"));
    assert_eq!(settings.parsed_or("log.level", 5, str::parse::<u8>), 5);
    assert!(settings.finish().unwrap().contains("log.level"));
}

#[test]
fn a_required_key_must_be_there() {
    assert!(problems("", |s| s.path("run_dir")).contains("run_dir: is missing"));
    assert!(problems("", |s| s.number("uid", 0..=9)).contains("uid: is missing"));
    assert!(problems("", |s| s.list("names", str::parse::<u8>)).contains("names: is missing"));
}

#[test]
fn a_value_of_another_type_is_refused() {
    let text =
        "a = 1\nb = \"1\"\nc = \"x\"\nd = [1, 2, \"x\"]\ne = []\nf = \"\"\nlimits = 3\n[log]\nlevel = 1\n";
    let found = problems(text, |s| {
        s.address("a");
        s.number("b", 0..=9);
        s.list("c", str::parse::<char>);
        s.list("d", str::parse::<u8>);
        s.list("e", str::parse::<char>);
        s.path("f");
        s.seconds("limits.idle", Duration::ZERO);
        s.parsed_or("log.level", 0, str::parse::<u8>);
    });
    for part in [
        "a: is of type integer, must be a text",
        "b: must be a whole number from 0 to 9",
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
    for seconds in ["0", "-1", "86401", "1.5", "\"1\""] {
        let found = problems(&format!("idle = {seconds}"), |s| s.seconds("idle", Duration::ZERO));
        assert!(found.contains("idle: must be a whole number from 1 to 86400"), "{seconds}: {found}");
    }
    assert!(problems("most = 0", |s| s.count("most", 1_u32)).contains("most: must be"));
    assert!(problems("uid = 10", |s| s.number("uid", 0..=9)).contains("uid: must be"));
}

#[test]
fn what_must_stay_on_the_machine_does() {
    let found = problems("adapter = \"10.0.0.1:1\"", |s| s.loopback("adapter"));
    assert!(found.contains("adapter: 10.0.0.1:1 is not a loopback address"), "{found}");
    assert!(problems("adapter = \"there\"", |s| s.loopback("adapter")).contains("is not ADDRESS:PORT"));
}

#[test]
fn every_unknown_key_is_named() {
    let found = problems("a = 1\n[b]\n[limits]\nidle = 1\nidel = 1\n[limits.deep]\nx = 1\n", |s| {
        s.seconds("limits.idle", Duration::ZERO)
    });
    for part in ["a: unknown", "b: unknown", "limits.idel: unknown", "limits.deep: unknown"] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert!(!found.contains("limits.idle:"), "{found}");
}

#[test]
fn a_file_that_is_named_is_read() {
    let found =
        problems("policy = \"/nonexistent/policy.toml\"", |s| s.file("policy", |_| Ok::<_, String>(())));
    assert!(found.contains("policy: /nonexistent/policy.toml: cannot be opened"), "{found}");
}

#[test]
fn what_is_no_toml_is_refused() {
    for text in [&b"listen ="[..], b"a = 1\na = 2", &[0xff]] {
        assert!(!Settings::parse("/".into(), text).unwrap_err().is_empty());
    }
}
