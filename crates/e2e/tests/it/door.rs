//! The door: shut before the first lease, shut after the last, open again by itself.

use dev_stack::Service;
use e2e::fake_backend::Script;
use nix::sys::signal::Signal;
use proto::inference::v1::{ChatRequest, inference_service_client::InferenceServiceClient};
use serde_json::Value;
use tonic::Code;

use crate::{
    admin::identity,
    chain::post,
    rig::{Rig, spec},
};

#[tokio::test(flavor = "multi_thread")]
async fn without_attestation_nothing_is_bound_and_the_services_give_up() {
    let mut rig = Rig::prepared("openai").await;
    for service in [Service::Gateway, Service::Adapter] {
        let config = rig.files().config(service);
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("start_timeout_seconds = 2\n{text}")).unwrap();
        rig.stack.start(service).unwrap();
    }
    assert!(!rig.port_is_bound());
    for service in [Service::Gateway, Service::Adapter] {
        let status = rig.blocking(|rig| rig.stack.wait(service)).unwrap();
        assert_eq!(status.code(), Some(7), "{service:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_of_the_measurement_off_and_nobody_serves() {
    let mut rig = Rig::prepared("openai").await;
    let guest = std::fs::read_to_string(rig.files().guest()).unwrap();
    std::fs::write(rig.files().guest(), guest.replacen("c0c0c0", "c0c0c1", 1)).unwrap();
    for service in Service::ALL {
        rig.stack.start(service).unwrap();
    }
    let status = rig.blocking(|rig| rig.stack.wait(Service::Attestation)).unwrap();
    assert_eq!(status.code(), Some(4));
    let log = std::fs::read_to_string(rig.files().log(Service::Attestation)).unwrap();
    assert!(log.contains("measurement"), "the log names the check: {log}");
    assert!(!rig.port_is_bound());
}

/// In seconds.
fn heartbeat_age(rig: &mut Rig, role: &str) -> u64 {
    identity(rig, role).pointer("/holder/heartbeat_age_seconds").and_then(Value::as_u64).unwrap()
}

/// The longest story, told once: the gateway falls asleep, attestation-svc dies, the gateway wakes after the lapse; a
/// stream is cut; nothing is answered; attestation-svc comes back and so does the service.
#[tokio::test(flavor = "multi_thread")]
async fn when_attestation_dies_the_door_shuts_and_opens_again_after_its_restart() {
    let mut rig = Rig::serving("openai").await;
    rig.backend.script(Script::paced(3));
    rig.backend.go_on(1);
    let mut open = rig.stream_chat().await.unwrap();
    let channel = rig.channel().await;
    open.message().await.unwrap().unwrap();

    rig.stack.signal(Service::Gateway, Signal::SIGSTOP).unwrap();
    // The adapter's last heartbeat is later than the gateway's, and so is its lapse.
    while heartbeat_age(&mut rig, "adapter") + 1 >= heartbeat_age(&mut rig, "gateway") {}
    rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
    rig.wait_for(Service::Adapter, "lapsed");
    rig.stack.signal(Service::Gateway, Signal::SIGCONT).unwrap();

    let cut = loop {
        match open.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut stream looked complete"),
            Err(status) => break status,
        }
    };
    assert_eq!(cut.code(), Code::Unavailable, "{cut}");
    let asked = rig.backend.requests().len();
    let refused = InferenceServiceClient::new(channel)
        .chat(ChatRequest { spec: Some(spec("hello")) })
        .await
        .unwrap_err();
    assert_eq!(proto::reason_of(&refused).as_deref(), Some("ATTESTATION_LAPSED"), "{refused}");
    assert_eq!(rig.backend.requests().len(), asked, "nothing reached the model server");
    assert!(rig.port_is_bound(), "after a lapse the port stays, to say no");

    rig.stack.start(Service::Attestation).unwrap();
    rig.wait_for(Service::Gateway, "lease is live");
    rig.wait_for(Service::Adapter, "lease is live");
    let (status, body) = post(&rig, false).await;
    assert_eq!(status, 200, "{body}");
}
