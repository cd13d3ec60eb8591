//! Official clients, unchanged, when trust lapses in mid-stream: they must raise.

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use dev_stack::Service;
use e2e::fake_backend::{Script, Step};
use prost::Message;
use proto::inference::v1::StreamChatRequest;

use crate::rig::{Rig, spec};

const SCRIPT: &str = include_str!("stock_clients.py");

#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_in_mid_stream_makes_official_clients_raise() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/clients/venv/bin/python");
    if !python.exists() {
        println!("skipped: no Python clients in .cache; `cargo xtask test` installs them");
        return;
    }
    let mut rig = Rig::serving("openai").await;
    let ca = rig.trusted_ca();
    let clients: Vec<_> =
        ["openai", "grpc"].into_iter().map(|kind| start(&mut rig, &python, kind, &ca)).collect();
    rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
    for (kind, mut child, mut lines) in clients {
        let last = rig.blocking(|_| lines.next()).unwrap().unwrap();
        assert!(last.starts_with("raised"), "{kind}: {last}");
        // Either side's lease may be the first to end; the gateway says which way trust was lost.
        let why = ["lease", "health tokens", "ATTESTATION_LAPSED", "PEER_NOT_ATTACHED"];
        assert!(why.iter().any(|why| last.contains(why)), "{kind} is told why: {last}");
        child.wait().unwrap();
    }
}

type Client = (&'static str, Child, Lines<BufReader<ChildStdout>>);

/// Starts a client and waits until its first piece came.
fn start(rig: &mut Rig, python: &Path, kind: &'static str, ca: &Path) -> Client {
    rig.backend.script(Script::answer([Step::text("first"), Step::Stall]));
    let request = hex::encode(StreamChatRequest { spec: Some(spec("hello")) }.encode_to_vec());
    let mut child = Command::new(python)
        .args(["-c", SCRIPT, kind, &rig.url])
        .arg(ca)
        .arg(request)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(rig.blocking(|_| lines.next()).unwrap().unwrap(), "first", "{kind}");
    (kind, child, lines)
}
