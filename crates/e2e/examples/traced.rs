//! The three services at work under strace, for `cargo xtask conformance systemd`.
//!
//! Argument: the folder for what each of them called.
#![expect(clippy::unwrap_used, reason = "a driver fails by panicking")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/rig.rs"]
mod rig;

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dev_stack::Service;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::rig::{PATIENCE, Rig, program};

fn traced(rig: &Rig, folder: &std::path::Path, service: Service) -> Child {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "0", "-o"]).arg(folder.join(service.name()));
    strace.arg(program(&format!("sim-{}", service.name()))).arg("--config").arg(rig.files().config(service));
    strace.arg("--simulated-root").arg(rig.files().root());
    if service == Service::Attestation {
        strace.arg("--machine").arg(rig.files().machine()).arg("--guest").arg(rig.files().guest());
    }
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::main]
async fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    let rig = Rig::prepared("openai").await;
    let mut running: Vec<_> = Service::ALL.map(|service| traced(&rig, &folder, service)).into();
    let end = Instant::now() + PATIENCE;
    let mut answer = loop {
        if let Ok(channel) = rig.try_channel().await {
            drop(channel);
            if let Ok(answer) = rig.stream_chat().await {
                break answer;
            }
        }
        assert!(Instant::now() < end, "nothing serves");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    while answer.message().await.unwrap().is_some() {}
    for child in running.iter_mut().rev() {
        // strace passes nothing on to its child, which is the only one that it has.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        child.wait().unwrap();
    }
}
