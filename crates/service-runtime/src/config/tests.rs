use std::{net::SocketAddr, time::Duration};

use super::*;
use crate::{accept::ConnectionLimits, measured::sha256};

const POLICY: &[u8] = b"version = 1\n";

const GOOD: &str = "measured = \"measured.toml\"\npolicy = \"policy.toml\"\nrun_dir = \"run\"\n\
                    listen = \"127.0.0.1:8445\"\n";

/// The smallest service there can be.
#[derive(Debug)]
struct Sample {
    common: Common<usize>,
    start_timeout: Duration,
    drain: Duration,
}

impl Configuration for Sample {
    fn read(settings: &mut Settings) -> Option<Self> {
        let common = Common::read(settings, |settings| settings.loopback("listen", "A port."), length);
        let (start_timeout, drain) =
            (settings.start_timeout(), settings.connection_limits(&ConnectionLimits::default()).drain);
        Some(Self { common: common?, start_timeout, drain })
    }

    fn measured(&self) -> &MeasuredConfig {
        &self.common.measured
    }

    fn observability(&self) -> &Observability {
        &self.common.observability
    }
}

/// A policy that is judged by its length.
fn length(bytes: &[u8]) -> Result<usize, String> {
    if bytes.is_empty() { Err("is empty".into()) } else { Ok(bytes.len()) }
}

/// `service` as the operational file beside a measured configuration and a policy that fit.
fn files(service: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let measured = crate::measured::sample().replace(&"ab".repeat(32), &hex::encode(sha256(POLICY)));
    let (path, write) = (folder.path().join("service.toml"), |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
    });
    write("measured.toml", measured.as_bytes());
    write("policy.toml", POLICY);
    write("other.toml", b"version = 1 # another\n");
    write("empty.toml", b"");
    write("service.toml", service.as_bytes());
    (folder, path)
}

fn refused(service: &str) -> ConfigError {
    let (_folder, path) = files(service);
    load_config::<Sample>(&path).unwrap_err()
}

#[test]
fn the_shared_keys_are_read() {
    let (folder, path) = files(&format!("{GOOD}[limits]\ndrain_seconds = 9\n"));
    let Sample { common, start_timeout, drain } = load_config(&path).unwrap();
    assert_eq!((common.policy, common.run_dir), (POLICY.len(), folder.path().join("run")));
    assert_eq!(common.listen, SocketAddr::from(([127, 0, 0, 1], 8445)));
    assert_eq!(
        (common.observability.log_level.as_str(), start_timeout.as_secs(), drain.as_secs()),
        ("info", 60, 9)
    );
}

#[test]
fn all_problems_of_all_files_are_reported_together() {
    let service = "measured = \"gone.toml\"\npolicy = \"empty.toml\"\nlisten = \"0.0.0.0:1\"\nsurprise = 1\n\
                   [limits]\nstreams = 0\n[log]\nlevel = \"a=b=c\"\n";
    let error = refused(service);
    let found = error.to_string();
    for part in [
        "service.toml",
        "gone.toml: cannot be opened",
        "empty.toml: is empty",
        "run_dir: is missing",
        "listen: 0.0.0.0:1 is not a loopback address",
        "surprise: unknown key",
        "limits.streams: is 0, must be",
        "log.level: ",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert_eq!(error.exit(), Exit::Config);
}

#[test]
fn another_policy_than_the_measured_one_is_refused_by_policy() {
    let other = GOOD.replace("policy.toml", "other.toml");
    let error = refused(&other);
    assert!(error.to_string().contains("check policy.digest failed"), "{error}");
    assert_eq!(error.exit(), Exit::Policy);
    // A mistake besides is a matter for whoever writes the file.
    let error = refused(&format!("surprise = 1\n{other}"));
    assert!(error.to_string().contains("policy.digest") && error.to_string().contains("surprise"), "{error}");
    assert_eq!(error.exit(), Exit::Config);
}

#[test]
fn each_key_has_its_class_and_its_value() {
    let (_folder, path) = files(&format!("{GOOD}[limits]\nage_seconds = 7\n"));
    let text = describe_config::<Sample>(&path).unwrap();
    let measured = load_config::<Sample>(&path).unwrap().common.measured;
    for line in [
        "operational  limits.age_seconds = 7\n",
        "operational  limits.drain_seconds = 30  (default)\n",
        "operational  policy = \"policy.toml\"\n",
        "measured     identity.gateway.uid = 1\n",
        &format!("measured     SHA-256 {} of the measured", hex::encode(measured.sha256())),
        &format!("measured     SHA-256 {} of the policy", hex::encode(sha256(POLICY))),
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = load_config::<Sample>(Path::new("/nonexistent/x.toml")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/x.toml: cannot be opened"), "{error}");
    assert_eq!(error.exit(), Exit::Config);
}

#[test]
fn a_file_that_everybody_may_write_is_refused() {
    let (folder, path) = files(GOOD);
    for name in ["service.toml", "measured.toml", "policy.toml"] {
        let file = folder.path().join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
        let error = load_config::<Sample>(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}: is writable by everybody; run `chmod o-w`")), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn a_file_too_large_is_refused() {
    let error = refused(&" ".repeat((1 << 20) + 1)).to_string();
    assert!(error.contains("is 1048577 bytes; the limit is 1048576"), "{error}");
}

#[test]
fn a_collectors_ca_is_given_with_https_and_only_there() {
    let ca = rcgen::generate_simple_self_signed(vec!["collector".to_owned()]).unwrap().cert.pem();
    let traces = |keys: &str| {
        let (folder, path) = files(&format!("{GOOD}[traces]\n{keys}"));
        fs::write(folder.path().join("ca.pem"), &ca).unwrap();
        load_config::<Sample>(&path).map(|sample| sample.common.observability.traces)
    };
    let (https, http) =
        ("otlp_endpoint = \"https://c:1/v1/traces\"\n", "otlp_endpoint = \"http://127.0.0.1:1/\"\n");
    let trusted = "otlp_ca = \"ca.pem\"\n";
    assert_eq!(traces(&format!("{https}{trusted}")).unwrap().unwrap().ca.len(), 1);
    assert!(traces(http).unwrap().unwrap().ca.is_empty() && traces("").unwrap().is_none());
    for bad in [https.to_owned(), format!("{http}{trusted}"), trusted.to_owned()] {
        let error = traces(&bad).unwrap_err().to_string();
        assert!(error.contains("traces.otlp_ca: needed with an https endpoint, and only there"), "{error}");
    }
}
