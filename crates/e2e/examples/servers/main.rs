//! vLLM and Ollama themselves behind the gateway: `cargo xtask conformance vllm|ollama`.
//!
//! Arguments: the run's name, a Python with official clients, the server's program, and for Ollama the file of a model.
//! vLLM serves a model without sense, whose weights it draws itself; first one that writes, then one that embeds. Each case is
//! one line of JSON on stdout.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a driver fails by panicking")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/rig.rs"]
mod rig;

mod process;
mod typed;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use e2e::fake_backend::FakeBackend;

use crate::{
    process::{Server, free},
    rig::{PATIENCE, Rig},
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap();
    let paths: Vec<_> = arguments.map(PathBuf::from).collect();
    if name == "vllm" {
        vllm(&paths[0], &paths[1]).await;
    } else {
        ollama(&paths[0], &paths[1], &paths[2]).await;
    }
}

async fn vllm(python: &Path, program: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut maker = Command::new(program.with_file_name("python"));
    maker.args(["-c", include_str!("tiny_model.py")]).arg(folder.path()).stdout(Stdio::null());
    assert!(maker.status().unwrap().success());
    // Else a model without sense writes nothing but white space between the parts of JSON.
    let compact = r#"{"backend": "xgrammar", "disable_any_whitespace": true}"#;
    let pooling = ["--runner", "pooling", "--convert", "embed"];
    let tools =
        ["--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--structured-outputs-config", compact];
    for (name, more) in [("vllm", &tools[..]), ("vllm-pooling", &pooling)] {
        let address = free();
        let mut vllm = Command::new(program);
        vllm.arg("serve").arg(folder.path()).args(["--load-format", "dummy", "--dtype", "float32"]);
        vllm.args(["--served-model-name", "tiny", "--max-model-len", "1024", "--enforce-eager"]).args(more);
        vllm.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        vllm.env("VLLM_CPU_KVCACHE_SPACE", "1").env("HF_HUB_OFFLINE", "1").env("VLLM_NO_USAGE_STATS", "1");
        let server = Server::start(vllm, address, "Application startup complete");
        let mut rig = facing("openai", &server).await;
        stock_clients(&mut rig, &server, python, name, "tiny");
        if name == "vllm" {
            typed::vllm(&rig).await;
        } else {
            typed::vllm_pooling(&rig).await;
        }
    }
}

async fn ollama(python: &Path, program: &Path, weights: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let address = free();
    let own = |subcommand: &str| {
        let mut ollama = Command::new(program);
        ollama.arg(subcommand).env("HOME", folder.path()).env("OLLAMA_HOST", address.to_string());
        ollama.env("OLLAMA_MODELS", folder.path().join("models"));
        ollama
    };
    let server = Server::start(own("serve"), address, "Listening on");
    let file = folder.path().join("Modelfile");
    fs::write(&file, format!("FROM {}\n", weights.display())).unwrap();
    let made = own("create")
        .arg("smollm2:135m")
        .arg("-f")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "ollama create failed");
    let mut rig = facing("ollama", &server).await;
    stock_clients(&mut rig, &server, python, "ollama", "smollm2:135m");
    typed::ollama(&rig, &server).await;
}

/// A stack whose model server is this one.
async fn facing(kind: &str, server: &Server) -> Rig {
    let mut rig = Rig::facing(kind, FakeBackend::start().await.unwrap(), server.address);
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    rig
}

/// The cases in Python, which tell of themselves.
fn stock_clients(rig: &mut Rig, server: &Server, python: &Path, name: &str, model: &str) {
    let ca = rig.trusted_ca();
    let mut cases = Command::new(python);
    cases.args(["-c", include_str!("cases.py"), name]).stdin(Stdio::null());
    cases.env("GATEWAY", &rig.url).env("MODEL_SERVER", format!("http://{}", server.address));
    cases.env("MODEL", model).env("SSL_CERT_FILE", ca);
    assert!(rig.blocking(|_| cases.status()).unwrap().success(), "the cases broke off");
}
