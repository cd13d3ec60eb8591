//! Programs that must not start, and say why.

use std::process::{Command, Output};

use dev_stack::Service;

use crate::rig::{PATIENCE, Rig, program};

fn shipped(service: Service, rig: &Rig) -> Command {
    let mut command = Command::new(program(service.name()));
    command.arg("--config").arg(rig.files().config(service));
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_services_refuse_simulated_evidence_with_exit_3() {
    let mut rig = Rig::prepared("openai").await;
    rig.stack.start(Service::Attestation).unwrap();
    rig.blocking(|rig| rig.stack.wait_for(Service::Attestation, "can be enrolled", PATIENCE)).unwrap();
    for service in [Service::Gateway, Service::Adapter] {
        let output = rig.blocking(|rig| shipped(service, rig).output()).unwrap();
        assert_eq!(output.status.code(), Some(3), "{service:?}: {}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_attestation_without_a_device_exits_5() {
    if std::path::Path::new("/dev/sev-guest").exists() {
        println!("skipped: this machine has a guest device");
        return;
    }
    let rig = Rig::prepared("openai").await;
    let output = shipped(Service::Attestation, &rig).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let line = "no SEV-SNP device at /sys/kernel/config/tsm/report or /dev/sev-guest: run in an SEV-SNP guest whose \
                kernel has CONFIG_SEV_GUEST and configfs mounted";
    let text = text(&output);
    let told: Vec<_> = text.lines().filter(|told| told.contains("not starting")).collect();
    assert!(matches!(told[..], [told] if told.contains(line)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_exits_2_and_names_every_problem() {
    let rig = Rig::prepared("openai").await;
    for service in Service::ALL {
        let config = rig.files().config(service);
        let good = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("surprise = 1\n{}", good.replace("measured.toml", "gone.toml")))
            .unwrap();
        for flags in [&[][..], &["--check-config"]] {
            let output = shipped(service, &rig).args(flags).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{service:?}: {}", text(&output));
            assert!(
                text(&output).contains("surprise") && text(&output).contains("gone.toml"),
                "{}",
                text(&output)
            );
        }
        std::fs::write(&config, good).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_configuration_file_is_named() {
    for service in Service::ALL {
        let mut command = Command::new(program(service.name()));
        let output = command.args(["--config", "/nonexistent/cube.toml"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{service:?}");
        assert!(text(&output).contains("/nonexistent/cube.toml"), "{}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_the_measured_one_is_refused() {
    let mut rig = Rig::prepared("openai").await;
    let policy = rig.files().policy();
    let edited = std::fs::read_to_string(&policy).unwrap() + "\n# one more line\n";
    std::fs::write(&policy, edited).unwrap();
    rig.stack.start(Service::Attestation).unwrap();
    let status = rig.blocking(|rig| rig.stack.wait(Service::Attestation)).unwrap();
    assert_eq!(status.code(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_program_with_another_measured_configuration_gets_no_identity() {
    let mut rig = Rig::prepared("openai").await;
    rig.stack.start(Service::Attestation).unwrap();
    rig.blocking(|rig| rig.stack.wait_for(Service::Attestation, "can be enrolled", PATIENCE)).unwrap();
    let measured = std::fs::read_to_string(rig.files().measured()).unwrap();
    std::fs::write(rig.files().measured(), measured + "\n# one more line\n").unwrap();
    for service in [Service::Gateway, Service::Adapter] {
        let output = rig.blocking(|rig| shipped(service, rig).output()).unwrap();
        assert_eq!(output.status.code(), Some(4), "{service:?}: {}", text(&output));
        assert!(text(&output).contains("ENROLMENT_WRONG_CONFIG"), "{}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measured_configuration_that_host_data_does_not_name_is_refused() {
    let mut rig = Rig::prepared("openai").await;
    let measured = rig.files().measured();
    let edited = std::fs::read_to_string(&measured).unwrap() + "\n# one more line\n";
    std::fs::write(&measured, edited).unwrap();
    rig.stack.start(Service::Attestation).unwrap();
    let status = rig.blocking(|rig| rig.stack.wait(Service::Attestation)).unwrap();
    assert_eq!(status.code(), Some(4));
}
