use std::fs;

use super::*;

const POLICY: &str = include_str!("../../../conformance/policies/strict.toml");

const GOOD: &str = "measured = \"measured.toml\"\npolicy = \"policy.toml\"\nrun_dir = \"run\"\n\
    listen = \"127.0.0.1:8445\"\n";

/// `adapter` as the operational file of a folder with a whole set.
fn load(adapter: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let digest = hex::encode(Policy::parse(POLICY.as_bytes()).unwrap().sha256());
    let measured = format!(
        "trust_domain = \"demo.cube.internal\"\ntenant = \"demo\"\npolicy_sha256 = \"{digest}\"\n\
         [identity.gateway]\nuid = 1\n[identity.adapter]\nuid = 2\n\
         [backend]\nkind = \"ollama\"\naddress = \"unix:/run/ollama.sock\"\nuid = 3\n[public]\nnames = [\"localhost\"]\n",
    );
    for (name, text) in
        [("measured.toml", measured.as_str()), ("policy.toml", POLICY), ("adapter.toml", adapter)]
    {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("other.toml"), format!("{POLICY}\n# another\n")).unwrap();
    Config::load(&folder.path().join("adapter.toml")).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.answers, AnswerLimits::default());
    assert_eq!(config.answers.first_token.as_secs(), 300);
    assert_eq!((config.answers.connect.as_secs(), config.answers.stream_idle.as_secs()), (2, 60));
    assert_eq!((config.answers.body, config.answers.frame), (32 << 20, 1 << 20));
    assert_eq!((config.start_timeout.as_secs(), config.observability.log_level.as_str()), (60, "info"));
    assert!(config.run_dir.is_absolute() && config.run_dir.ends_with("run"));
}

#[test]
fn limits_can_be_named() {
    let text = format!(
        "{GOOD}[limits]\nfirst_token_seconds = 7\nstream_idle_seconds = 8\ndrain_seconds = 9\n[log]\nlevel = \"debug\"\n"
    );
    let config = load(&text).unwrap();
    assert_eq!((config.answers.first_token.as_secs(), config.answers.stream_idle.as_secs()), (7, 8));
    assert_eq!((config.connections.drain.as_secs(), config.observability.log_level.as_str()), (9, "debug"));
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = "measured = \"absent.toml\"\npolicy = 3\nlisten = \"0.0.0.0:8445\"\nextra = 1\n\
        [limits]\nfirst_token_seconds = 0\nfirst_tokn_seconds = 1\n[log]\nlevels = \"x\"\n";
    let problems = load(text).unwrap_err();
    for part in [
        "absent.toml",
        "policy: is of type integer",
        "run_dir: is missing",
        "0.0.0.0:8445 is not a loopback address",
        "extra: unknown key",
        "limits.first_token_seconds: is 0, must be a whole number",
        "limits.first_tokn_seconds: unknown key",
        "log.levels: unknown key",
    ] {
        assert!(problems.contains(part), "{part} in {problems}");
    }
}

#[test]
fn another_policy_than_the_measured_is_refused() {
    let problems = load(&GOOD.replace("policy.toml", "other.toml")).unwrap_err();
    assert!(problems.contains("check policy.digest failed"), "{problems}");
}

#[test]
fn what_is_no_toml_is_refused() {
    assert!(load("listen =").unwrap_err().contains("TOML"));
}

#[test]
fn a_section_that_is_no_table_is_refused() {
    assert!(load(&format!("limits = 3\n{GOOD}")).unwrap_err().contains("limits: must be a table"));
}
