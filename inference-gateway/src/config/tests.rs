use std::fs;

use service_runtime::ConnectionLimits;

use super::*;

const GOOD: &str = r#"
measured = "measured.toml"
policy = "policy.toml"
run_dir = "run"
listen = "0.0.0.0:8443"
attestation_svc = "127.0.0.1:8444"
adapter = "[::1]:8445"
access = "anonymous"
"#;

/// The configuration in `text`, beside a measured configuration and a policy that fit together.
fn load(text: &str) -> (tempfile::TempDir, Result<Config, ConfigError>) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let policy = include_str!("../../../conformance/policies/strict.toml");
    let digest = hex::encode(Policy::parse(policy.as_bytes()).unwrap().sha256());
    write("policy.toml", policy);
    write("other-policy.toml", &format!("{policy}\n# another\n"));
    write("measured.toml", &include_str!("../../tests/golden/measured.toml").replace("POLICY", &digest));
    write("gateway.toml", text);
    let config = Config::load(&folder.path().join("gateway.toml"));
    (folder, config)
}

fn problems(text: &str) -> String {
    load(text).1.unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let (folder, config) = load(GOOD);
    let config = config.unwrap();
    assert_eq!(config.run_dir, folder.path().join("run"));
    assert!(matches!(config.access, Access::Anonymous) && config.observability.log_level == "info");
    assert_eq!(config.start_timeout.as_secs(), 60);
    let answers = &config.answers;
    let times = [answers.first_token, answers.stream_idle, answers.unary, answers.evidence];
    assert_eq!(times.map(|limit| limit.as_secs()), [300, 60, 600, 30]);
    assert_eq!([answers.body, answers.bodies, answers.frame], [32 << 20, 512 << 20, 1 << 20]);
    let connections = &config.connections;
    assert_eq!((connections.streams, connections.connections), (256, 10_000));
    let ConnectionLimits { handshake, headers, keep_alive, keep_alive_timeout, idle, age, drain, .. } =
        connections;
    let times = [handshake, headers, keep_alive, keep_alive_timeout, idle, age, drain];
    assert_eq!(times.map(Duration::as_secs), [10, 10, 20, 20, 300, 1800, 30]);
}

#[test]
fn limits_can_be_set() {
    let text = format!(
        "{GOOD}start_timeout_seconds = 5\n[limits]\nunary_seconds = 7\nbody_bytes = 99\nstreams = 3\n[log]\nlevel = \"debug\"\n"
    );
    let config = load(&text).1.unwrap();
    assert_eq!((config.start_timeout.as_secs(), config.answers.unary.as_secs()), (5, 7));
    assert_eq!((config.answers.body, config.connections.streams), (99, 3));
    assert_eq!(config.observability.log_level, "debug");
}

#[test]
fn all_requests_together_may_be_as_large_as_one() {
    let larger = format!("{GOOD}[limits]\nbody_bytes = {}\n", 1 << 30);
    assert_eq!(load(&larger).1.unwrap().answers.bodies, 1 << 30);
    let found = problems(&format!("{GOOD}[limits]\nbody_bytes = 100\nbodies_bytes = 99\n"));
    assert!(found.contains("limits.bodies_bytes: is 99, must be a whole number from 100 to"), "{found}");
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "measured = 3\nlisten = \"x\"\nattestation_svc = \"10.0.0.1:1\"\naccess = \"all\"\nwhat = 1\n\
                [limits]\nunary_seconds = 0\nage_seconds = 100000\nwhat = 1\n";
    let found = problems(text);
    for expected in [
        "measured: is of type integer",
        "policy: is missing",
        "run_dir: is missing",
        "listen: \"x\" is not ADDRESS:PORT",
        "attestation_svc: 10.0.0.1:1 is not a loopback address",
        "adapter: is missing",
        "access: need api-keys",
        "what: unknown key",
        "limits.what: unknown key",
        "limits.unary_seconds: is 0, must be",
        "limits.age_seconds: is 100000, must be",
    ] {
        assert!(found.contains(expected), "{expected} is not in: {found}");
    }
}

#[test]
fn nothing_is_served_to_everybody_by_default() {
    assert!(problems(&GOOD.replace("access = \"anonymous\"", "")).contains("access: is missing"));
}

#[test]
fn another_policy_than_the_measured_one_is_refused() {
    let found = problems(&GOOD.replace("\"policy.toml\"", "\"other-policy.toml\""));
    assert!(found.contains("check policy.digest failed"), "{found}");
}

#[test]
fn files_that_are_not_there_and_toml_that_is_none_are_named() {
    assert!(problems(&GOOD.replace("\"measured.toml\"", "\"gone.toml\"")).contains("gone.toml"));
    assert!(problems("listen = ").contains("TOML"));
}

#[test]
fn keys_are_there_exactly_where_they_count() {
    let with_keys = GOOD.replace("\"anonymous\"", "\"api-keys\"");
    let found = problems(&with_keys);
    assert!(found.contains("keys: access = \"api-keys\" needs the file"), "{found}");
    let found = problems(&format!("keys = \"keys.toml\"\n{GOOD}"));
    assert!(found.contains("keys: keys would count for nothing"), "{found}");
    let found = problems(&format!("keys = \"measured.toml\"\n{with_keys}"));
    assert!(found.contains("measured.toml: ") && found.contains("keys: "), "{found}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "version = 1\n").unwrap();
    let text = format!("keys = {:?}\n{with_keys}", file.path());
    assert!(matches!(load(&text).1.unwrap().access, Access::Listed(_, None)));
}

#[test]
fn callers_by_certificate_need_a_trust_domain_and_its_cas() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        format!("{path:?}")
    };
    let ca = file("ca.pem", &params.self_signed(&key).unwrap().pem());
    let keys = file(
        "keys.toml",
        "version = 1\n[[key]]\nname = \"a\"\nspiffe_id = \"spiffe://hospital.example/a\"\nexpires = \"never\"\n\
         models = [\"*\"]\n",
    );
    let with = |callers: &str| {
        let text = GOOD.replace("\"anonymous\"", &format!("\"api-keys\"\nkeys = {keys}"));
        load(&format!("{text}[callers]\n{callers}")).1
    };
    let good = format!("trust_domain = \"hospital.example\"\nca = {ca}\n");
    assert!(matches!(with(&good).unwrap().access, Access::Listed(_, Some(_))));
    let domain = |name: &str| good.replace("hospital.example", name);
    for (callers, problem) in [
        (String::new(), "spiffe_id is of another trust domain"),
        (domain("bank.example"), "spiffe_id is of another trust domain"),
        (domain("Hospital"), "callers.trust_domain: \"Hospital\" is no trust domain"),
        (domain("a/b"), "is no trust domain"),
        (domain("demo.cube.internal"), "is the trust domain of Cube's own services"),
        (format!("ca = {ca}\n"), "callers: needs both trust_domain and ca"),
        (good.replace("ca.pem", "keys.toml"), "keys.toml: holds no certificate"),
    ] {
        let found = with(&callers).unwrap_err().to_string();
        assert!(found.contains(problem), "{problem} is not in: {found}");
    }
    let found = problems(&format!("{GOOD}[callers]\n{good}"));
    assert!(found.contains("callers.ca would count for nothing"), "{found}");
}
