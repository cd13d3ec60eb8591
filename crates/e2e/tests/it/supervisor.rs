//! What a service manager is told, by real processes.

use std::{
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::Duration,
};

use dev_stack::Service;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::rig::{PATIENCE, Rig, program};

/// The manager's side.
struct Manager(UnixDatagram);

impl Manager {
    /// What it is told next, that it was not told before in a row.
    fn next(&self, after: &str) -> String {
        let mut buffer = [0; 256];
        loop {
            let length = self.0.recv(&mut buffer).unwrap();
            let told = String::from_utf8_lossy(buffer.get(..length).unwrap()).trim().to_owned();
            if told != after {
                return told;
            }
        }
    }
}

fn gateway(rig: &Rig) -> (Child, Manager) {
    let path = rig.files().folder().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let child = Command::new(program("sim-inference-gateway"))
        .arg("--config")
        .arg(rig.files().config(Service::Gateway))
        .arg("--simulated-root")
        .arg(rig.files().root())
        .env("NOTIFY_SOCKET", path)
        .env("WATCHDOG_USEC", Duration::from_millis(300).as_micros().to_string())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (child, Manager(manager))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_says_when_it_serves_lives_and_stops() {
    let mut rig = Rig::prepared("openai").await;
    let (mut child, manager) = gateway(&rig);
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 64]).is_err(), "nothing before there is anything to serve with");
    manager.0.set_nonblocking(false).unwrap();
    rig.stack.start(Service::Attestation).unwrap();
    rig.blocking(|rig| {
        assert_eq!(manager.next(""), "READY=1");
        assert!(rig.port_is_bound());
        assert_eq!(manager.next(""), "WATCHDOG=1");
        assert_eq!(manager.next(""), "WATCHDOG=1");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(manager.next("WATCHDOG=1"), "STOPPING=1");
        assert!(child.wait().unwrap().success());
    });
}
