//! What an operator does to running services, with the `cube` command.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Output},
};

use dev_stack::Service;
use e2e::fake_backend::Script;
use nix::unistd::geteuid;
use proto::inference::v1::StreamChatResponse;
use serde_json::Value;
use tonic::{Code, Status, Streaming};

use crate::{
    chain::post,
    rig::{Rig, program},
};

/// Runs `cube admin` on the rig's socket.
fn run(rig: &mut Rig, arguments: &[&str]) -> Output {
    let socket = rig.files().run_dir().join("admin.sock");
    let mut command = Command::new(program("cube"));
    command.arg("admin").args(arguments).arg("--socket").arg(socket);
    rig.blocking(|_| command.output()).unwrap()
}

/// The same, which has to go well; the answer.
fn admin(rig: &mut Rig, arguments: &[&str]) -> Value {
    let output = run(rig, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn identity(rig: &mut Rig, role: &str) -> Value {
    let state = admin(rig, &["state"]);
    let mut identities = state.get("identities").unwrap().as_array().unwrap().iter();
    identities.find(|identity| identity.get("role").unwrap() == role).unwrap().clone()
}

/// A stream that has said its first of three words and waits for the backend.
async fn open_stream(rig: &Rig) -> Streaming<StreamChatResponse> {
    rig.backend.script(Script::paced(3));
    rig.backend.go_on(1);
    let mut stream = rig.stream_chat().await.unwrap();
    stream.message().await.unwrap().unwrap();
    stream
}

/// Reads on to the refusal; `None` where the stream looks complete.
async fn refusal(mut stream: Streaming<StreamChatResponse>) -> Option<Status> {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_shows_the_services_and_each_call_is_in_the_audit_log() {
    let mut rig = Rig::serving("openai").await;
    let state = admin(&mut rig, &["state"]);
    assert_eq!(state["evidence_format"], "simulated-amd-sev-snp-report");
    assert_eq!((&state["epoch"], &state["min_epoch"]), (&1.into(), &1.into()));
    for (role, of) in [("gateway", Service::Gateway), ("adapter", Service::Adapter)] {
        let identity = identity(&mut rig, role);
        assert_eq!(identity["holder"]["pid"], rig.stack.pid(of).unwrap());
        assert!(identity["tokens_granted"].as_u64().unwrap() >= 1 && identity["revoked"] == false);
    }
    let table = run(&mut rig, &["state"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("SIMULATED HARDWARE") && table.contains("gateway"), "{table}");

    admin(&mut rig, &["revoke", "--all", "--reason", "a drill"]);
    let refused = run(&mut rig, &["revoke", "--all", "--reason", ""]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("INVALID_REQUEST"));
    rig.wait_for(Service::Attestation, "INVALID_REQUEST");
    let log = fs::read_to_string(rig.files().log(Service::Attestation)).unwrap();
    let calls: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["target"] == "audit" && line["call"] == "Revoke")
        .collect();
    let [done, refused] = calls.as_slice() else { panic!("not two calls: {log}") };
    assert_eq!(
        (&done["what"], &done["reason"], &done["outcome"]),
        (&"all".into(), &"a drill".into(), &"done".into())
    );
    assert_eq!(done["uid"], geteuid().as_raw());
    assert!(done["pid"].as_u64().is_some_and(|pid| pid > 1));
    assert_eq!((&refused["outcome"], refused.get("reason")), (&"INVALID_REQUEST".into(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_all_cuts_what_is_open_and_service_goes_on_with_new_tokens() {
    let mut rig = Rig::serving("openai").await;
    let stream = open_stream(&rig).await;
    let epochs = admin(&mut rig, &["revoke", "--all", "--reason", "a test"]);
    assert_eq!((&epochs["epoch"], &epochs["min_epoch"]), (&2.into(), &2.into()));
    assert_eq!(refusal(stream).await.unwrap().code(), Code::Unavailable);
    rig.wait_for(Service::Gateway, "lease is live");
    rig.wait_for(Service::Adapter, "lease is live");
    let (status, body) = post(&rig, false).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_gateway_serves_nothing_however_often_it_starts_until_it_is_reinstated() {
    let mut rig = Rig::serving("openai").await;
    let stream = open_stream(&rig).await;
    let channel = rig.channel().await;
    admin(&mut rig, &["revoke", "gateway", "--reason", "a test"]);
    assert_eq!(refusal(stream).await.unwrap().code(), Code::Unavailable);
    let request = proto::inference::v1::ChatRequest { spec: Some(crate::rig::spec("hello")) };
    let mut client = proto::inference::v1::inference_service_client::InferenceServiceClient::new(channel);
    let refused = client.chat(request).await.unwrap_err();
    assert_eq!(proto::reason_of(&refused).as_deref(), Some("ATTESTATION_LAPSED"), "{refused}");

    rig.blocking(|rig| rig.stack.kill(Service::Gateway)).unwrap();
    let config = rig.files().config(Service::Gateway);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("start_timeout_seconds = 2\n{text}")).unwrap();
    rig.stack.start(Service::Gateway).unwrap();
    assert_eq!(rig.blocking(|rig| rig.stack.wait(Service::Gateway)).unwrap().code(), Some(7));
    let log = fs::read_to_string(rig.files().log(Service::Gateway)).unwrap();
    assert!(log.lines().last().unwrap().contains("IDENTITY_REVOKED"), "{log}");

    admin(&mut rig, &["reinstate", "gateway", "--reason", "a test"]);
    rig.stack.start(Service::Gateway).unwrap();
    rig.wait_for(Service::Gateway, "\"serving\"");
    let (status, body) = post(&rig, false).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_adapter_is_refused_by_the_gateway_and_comes_back_by_itself() {
    let mut rig = Rig::serving("openai").await;
    let stream = open_stream(&rig).await;
    admin(&mut rig, &["revoke", "adapter", "--reason", "a test"]);
    assert_eq!(refusal(stream).await.unwrap().code(), Code::Unavailable);
    rig.wait_for(Service::Adapter, "IDENTITY_REVOKED");
    let asked = rig.backend.requests().len();
    let (status, body) = post(&rig, false).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(rig.backend.requests().len(), asked, "nothing reached the model server");
    let revoked = identity(&mut rig, "adapter");
    assert_eq!((&revoked["revoked"], &revoked["holder"]), (&true.into(), &Value::Null));

    admin(&mut rig, &["reinstate", "adapter", "--reason", "a test"]);
    rig.wait_for(Service::Adapter, "lease is live");
    let (status, body) = post(&rig, false).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_svids_replaces_certificates_under_an_open_stream() {
    let mut rig = Rig::serving("openai").await;
    let mut stream = open_stream(&rig).await;
    let svids = |rig: &mut Rig| {
        ["gateway", "adapter"]
            .map(|role| identity(rig, role)["holder"]["svid_serial"].as_str().unwrap().to_owned())
    };
    let (before, public) = (svids(&mut rig), public_serial(&rig).await);
    let told = admin(&mut rig, &["rotate", "svids", "--reason", "a test"]);
    assert_eq!(told["roles"], serde_json::json!(["gateway", "adapter"]));
    rig.wait_for(Service::Gateway, "\"enrolled\"");
    rig.wait_for(Service::Adapter, "\"enrolled\"");
    let after = svids(&mut rig);
    assert!(before.iter().all(|serial| !after.contains(serial)), "{before:?} {after:?}");
    assert_ne!(public, public_serial(&rig).await);

    rig.backend.go_on(2);
    let mut events = 1;
    while stream.message().await.unwrap().is_some() {
        events += 1;
    }
    assert!(events >= 3, "the stream went on to its proper end");
    let (status, body) = post(&rig, false).await;
    assert_eq!(status, 200, "{body}");
}

/// Serial number of the certificate that the public port shows.
async fn public_serial(rig: &Rig) -> Vec<u8> {
    let stream = rig.http1().await;
    mtls::serial_of(stream.get_ref().1.peer_certificates().unwrap().first().unwrap()).unwrap()
}

/// Even where the socket's mode lets a process of another user in, the kernel tells who it is.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused() {
    const NOBODY: u32 = 65534;
    if !geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let mut rig = Rig::prepared("openai").await;
    rig.stack.start(Service::Attestation).unwrap();
    rig.wait_for(Service::Attestation, "can be enrolled");
    let (folder, run_dir) = (rig.files().folder().to_owned(), rig.files().run_dir());
    let (socket, cube) = (run_dir.join("admin.sock"), folder.join("cube"));
    fs::copy(program("cube"), &cube).unwrap();
    for (path, mode) in [(&folder, 0o711), (&run_dir, 0o711), (&cube, 0o755), (&socket, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(&cube);
    command.args(["admin", "state", "--socket"]).arg(&socket).uid(NOBODY).gid(NOBODY);
    let output = rig.blocking(|_| command.output()).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("ADMIN_WRONG_UID") && output.stdout.is_empty(), "{stderr}");
}
