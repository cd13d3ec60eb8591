//! A model server as a process.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// vLLM compiles before it serves.
const PATIENCE: Duration = Duration::from_mins(10);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    said: Receiver<String>,
}

/// An address on which nobody listens.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Server {
    /// Started, once it has said `ready`.
    pub(crate) fn start(mut command: Command, address: SocketAddr, ready: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let (tell, said) = channel();
        follow(child.stdout.take().unwrap(), tell.clone());
        follow(child.stderr.take().unwrap(), tell);
        let server = Self { address, child, said };
        server.wait_for(ready, PATIENCE);
        server
    }

    /// The next line with `text`.
    pub(crate) fn wait_for(&self, text: &str, patience: Duration) {
        let until = Instant::now() + patience;
        let next = || self.said.recv_timeout(until.saturating_duration_since(Instant::now()));
        while !next().unwrap().contains(text) {}
    }

    /// Leaves out what it has said until now.
    pub(crate) fn forget(&self) {
        self.said.try_iter().for_each(drop);
    }
}

/// To its end, whether or not anybody waits for a line: a server whose log is full stops.
fn follow(log: impl Read + Send + 'static, tell: Sender<String>) {
    let lines = BufReader::new(log).lines();
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
}

impl Drop for Server {
    /// With the processes that it started.
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().try_into().unwrap());
        killpg(group, Signal::SIGKILL).unwrap();
        drop(self.child.wait());
    }
}
