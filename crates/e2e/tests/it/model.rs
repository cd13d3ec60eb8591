//! A real model on a real server: llama.cpp with SmolLM2-135M, installed by `cargo xtask test`.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use dev_stack::{Options, Stack, prepare};
use service_runtime::BackendAddress;

use crate::rig::{PATIENCE, program, root};

const SCRIPT: &str = include_str!("../../../xtask/src/llama_server.py");

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_answers_through_the_chain() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/llama");
    if !home.join("model.gguf").exists() {
        println!("skipped: no model server in .cache; `cargo xtask test` installs it");
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = start(&home, port);
    let folder = tempfile::tempdir().unwrap();
    let backend = BackendAddress::Tcp(([127, 0, 0, 1], port).into());
    let options = Options::on([127, 100, 100, 1].into(), "openai", backend);
    let files = prepare(folder.path(), &options, root()).unwrap();
    let mut stack = Stack::new(files.clone()).unwrap();
    tokio::task::block_in_place(|| stack.start_all(PATIENCE)).unwrap();
    let mut cube = Command::new(program("cube"));
    cube.args(["chat", "https://127.100.100.1:8443", "What is gravity?", "--policy"]);
    cube.arg(files.client_policy()).arg("--allow-simulated").arg(files.root());
    let output = tokio::task::block_in_place(|| cube.output()).unwrap();
    let words = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(words.contains("gravity"), "{words}");
    drop(server.stdin.take());
    server.wait().unwrap();
}

fn start(home: &Path, port: u16) -> Child {
    let mut server = Command::new(home.join("venv/bin/python"))
        .args(["-c", SCRIPT])
        .arg(home.join("model.gguf"))
        .args(["smollm2-135m", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    server
}
