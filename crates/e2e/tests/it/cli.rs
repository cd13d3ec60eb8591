//! The `cube` command against a running stack.

use std::process::{Command, Output};

use dev_stack::Service;

use crate::rig::{Rig, program};

fn cube(rig: &mut Rig, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("cube"));
    command.args(arguments);
    rig.blocking(|_| command.output()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_chat_tell_simulated_hardware_from_real() {
    let mut rig = Rig::serving("openai").await;
    let (url, policy, root) = (rig.url.clone(), rig.files().client_policy(), rig.files().root());
    let (policy, root) = (policy.to_str().unwrap(), root.to_str().unwrap());
    let simulated = ["--policy", policy, "--allow-simulated", root];
    let codes = [
        (vec!["verify", &url, "--policy", policy], 14),
        ([&["verify", url.as_str()], &simulated[..]].concat(), 0),
        ([&["verify", url.as_str(), "--binding", "tls-spki"], &simulated[..]].concat(), 0),
        ([&["chat", url.as_str(), "hello"], &simulated[..]].concat(), 0),
        (vec!["verify", &url, "--allow-simulated", root], 11),
    ];
    for (arguments, code) in codes {
        let output = cube(&mut rig, &arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    }
    let chat = cube(&mut rig, &[&["chat", url.as_str(), "hello"], &simulated[..]].concat());
    assert_eq!(String::from_utf8_lossy(&chat.stdout).trim(), "Hello from the fake.");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_deployments_policy_refuses() {
    let mut rig = Rig::serving("openai").await;
    let (url, root) = (rig.url.clone(), rig.files().root());
    let policy = rig.files().folder().join("other.toml");
    let own = std::fs::read_to_string(rig.files().client_policy()).unwrap();
    let pinned = own.lines().find(|line| line.starts_with("host_data")).unwrap();
    let other = format!("host_data = {{ allow = [\"{}\"] }}", "0".repeat(64));
    std::fs::write(&policy, own.replace(pinned, &other)).unwrap();
    let arguments = ["verify", &url, "--json", "--policy", policy.to_str().unwrap(), "--allow-simulated"];
    let output = cube(&mut rig, &[&arguments[..], &[root.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(11));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict.get("reason").unwrap(), "host_data");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_of_a_service_that_is_killed_again_and_again_stays_whole() {
    const KILLS: u64 = 5;
    let mut rig = Rig::serving("openai").await;
    for kill in 1..=KILLS {
        rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
        if kill == KILLS {
            // Nobody writes to the log while it is read.
            rig.blocking(|rig| {
                [Service::Gateway, Service::Adapter].map(|service| rig.stack.kill(service).unwrap())
            });
        }
        rig.stack.start(Service::Attestation).unwrap();
        rig.wait_for(Service::Attestation, "evidence accepted");
    }
    let folder = rig.files().folder().join("audit");
    let output = cube(&mut rig, &["audit", "verify", "--json", folder.to_str().unwrap()]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{found}");
    assert_eq!(found.pointer("/events/boot").unwrap(), KILLS + 1);
    assert!(
        found.pointer("/events/enrolled").is_some() && found.pointer("/events/stopped").is_none(),
        "{found}"
    );
}
