//! Who may be whom, and who may call whom, among real processes.

use dev_stack::Role;

use crate::rig::{PATIENCE, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_holder_of_an_identity_is_refused() {
    let mut rig = Rig::serving("openai").await;
    let config = rig.files().config(Role::Gateway);
    let other = rig.files().folder().join("second.toml");
    let text = std::fs::read_to_string(config).unwrap().replace(":8443", ":9443");
    std::fs::write(&other, format!("start_timeout_seconds = 2\n{text}")).unwrap();
    let mut second = std::process::Command::new(crate::rig::program("sim-inference-gateway"));
    second.arg("--config").arg(&other).arg("--simulated-root").arg(rig.files().root());
    let output = rig.blocking(|_| second.output()).unwrap();
    assert_eq!(output.status.code(), Some(7));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("IDENTITY_IN_USE"), "{log}");
    assert!(rig.port_is_bound(), "the first holder is not disturbed");
    let mut stream = rig.stream_chat().await.unwrap();
    assert!(stream.message().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_free_again_when_its_holder_has_gone() {
    let mut rig = Rig::serving("openai").await;
    rig.blocking(|rig| rig.stack.kill(Role::Gateway)).unwrap();
    rig.stack.start(Role::Gateway).unwrap();
    rig.blocking(|rig| rig.stack.wait_for(Role::Gateway, "\"serving\"", PATIENCE)).unwrap();
    let mut stream = rig.stream_chat().await.unwrap();
    assert!(stream.message().await.unwrap().is_some());
}
