//! The samples in `deploy/config`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dev_stack::Service;
use service_runtime::MeasuredConfig;
use snp_evidence::Policy;
use snp_simulator::Guest;

use crate::rig::{PATIENCE, Rig, program};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config")
}

fn sample(name: &str) -> String {
    fs::read_to_string(samples().join(name)).unwrap()
}

fn config(service: Service) -> String {
    format!("{}.toml", service.name())
}

/// What the shipped service says of its configuration.
fn checked(service: Service, config: &Path) -> String {
    let mut command = Command::new(program(service.name()));
    let output = command.arg("--config").arg(config).arg("--check-config").output().unwrap();
    assert!(output.status.success(), "{service:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_sample_passes_check_config_as_it_lies() {
    for service in Service::ALL {
        let shown = checked(service, &samples().join(config(service)));
        let (measured, listen) =
            ("measured     trust_domain = \"cube.example.org\"\n", "operational  listen = \"");
        assert!(shown.contains(measured) && shown.contains(listen), "{shown}");
    }
}

/// systemd hands credentials of SMBIOS strings, which are the host's, to services as files in such a folder.
#[test]
fn what_a_host_injects_as_a_credential_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config", "measured.toml", "policy.toml", "cube.api-keys", "token"] {
        fs::write(folder.path().join(name), "surprise = 1\n").unwrap();
    }
    for service in Service::ALL {
        let config = samples().join(config(service));
        let mut command = Command::new(program(service.name()));
        let injected = command.env("CREDENTIALS_DIRECTORY", folder.path()).env("CUBE_CONFIG", folder.path());
        let output = injected.arg("--config").arg(&config).arg("--check-config").output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), checked(service, &config));
    }
}

/// With all that a sample has in comments.
fn uncommented(text: &str) -> String {
    let key = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', '"']));
    text.lines().map(|line| line.strip_prefix("# ").filter(key).unwrap_or(line).to_owned() + "\n").collect()
}

#[test]
fn every_sample_shows_every_key_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("policy.toml", sample("policy.toml"));
    write("measured.toml", uncommented(&sample("measured.toml")));
    let collector = rcgen::generate_simple_self_signed(["collector.example.org".to_owned()]).unwrap();
    write("collector-ca.pem", collector.cert.pem());
    write("kds-ca.pem", collector.cert.pem());
    write("callers-ca.pem", collector.cert.pem());
    write("keys.toml", "version = 1\n".to_owned());
    for service in Service::ALL {
        // The file of keys goes with the other value.
        let text = uncommented(&sample(&config(service)));
        write(&config(service), text.replace("access = \"anonymous\"", "access = \"api-keys\""));
        // A key that no service knows would be an error, and one that is not there, a default.
        let shown = checked(service, &folder.path().join(config(service)));
        assert!(!shown.contains("(default)") && !shown.contains("(not set)"), "{shown}");
        assert!(shown.contains("operational  limits.drain_seconds = "), "{shown}");
    }
}

/// `text` with another value for `key`, which it must have.
fn with(text: &str, key: &str, value: &str) -> String {
    let (table, leaf) = key.rsplit_once('.').unwrap_or(("", key));
    let (mut section, mut found) = (String::new(), 0);
    let line = |line: &str| {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        }
        if section == table && line.split_once(" = ").is_some_and(|(key, _)| key == leaf) {
            found += 1;
            return format!("{leaf} = {value}\n");
        }
        format!("{line}\n")
    };
    let text = text.lines().map(line).collect();
    assert_eq!(found, 1, "{key}");
    text
}

/// Everything as in the samples but what is another on each machine: addresses, folders, users, and
/// the measurement, which the samples do not know.
fn prepare(rig: &Rig) {
    let files = rig.files();
    let write = |path: PathBuf, text: &str| fs::write(path, text).unwrap();
    let mut guest = Guest::from_json(&fs::read_to_string(files.guest()).unwrap()).unwrap();
    let one = |digest: &[u8]| format!("[\"{}\"]", hex::encode(digest));

    let policy = with(&sample("policy.toml"), "measurement.allow", &one(&guest.measurement));
    write(files.policy(), &policy);
    let digest = Policy::parse(policy.as_bytes()).unwrap().sha256();

    let uid = nix::unistd::getuid().to_string();
    let mut measured = sample("measured.toml");
    for (key, value) in [
        ("policy_sha256", format!("\"{}\"", hex::encode(digest))),
        ("identity.gateway.uid", uid.clone()),
        ("identity.adapter.uid", uid.clone()),
        ("backend.uid", uid),
        ("backend.address", format!("\"http://{}\"", rig.backend.address())),
    ] {
        measured = with(&measured, key, &value);
    }
    write(files.measured(), &measured);
    guest.host_data = *MeasuredConfig::parse(measured.as_bytes()).unwrap().sha256();
    write(files.guest(), &guest.to_json());
    let pinned = format!("{{ allow = {} }}", one(&guest.host_data));
    let client = fs::read_to_string(files.client_policy()).unwrap();
    write(files.client_policy(), &with(&client, "host_data", &pinned));

    let port = |port: u16| format!("\"{}:{port}\"", rig.ip);
    for service in Service::ALL {
        let mut text = with(&sample(&config(service)), "run_dir", "\"run\"");
        let other: &[_] = match service {
            Service::Attestation => &[("listen", port(8444)), ("audit.dir", "\"audit\"".to_owned())],
            Service::Adapter => &[("listen", port(8445))],
            Service::Gateway => {
                &[("listen", port(8443)), ("attestation_svc", port(8444)), ("adapter", port(8445))]
            }
        };
        for (key, value) in other {
            text = with(&text, key, value);
        }
        if service == Service::Attestation {
            // AMD does not know this machine; its list is where an operator without network would put it.
            text = with(&with(&text, "kds.urls", "[]"), "collateral.cache", "\"cache\"");
            let directory = "directory = \"/etc/cube/collateral\"";
            assert!(text.contains(directory));
            text = text.replace(&format!("# {directory}"), "directory = \"collateral\"");
        }
        write(files.config(service), &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_start_from_the_samples_and_serve() {
    let mut rig = Rig::prepared("ollama").await;
    prepare(&rig);
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    let mut answer = rig.stream_chat().await.unwrap();
    let mut events = 0;
    while answer.message().await.unwrap().is_some() {
        events += 1;
    }
    assert!(events > 2, "{events}");
}
