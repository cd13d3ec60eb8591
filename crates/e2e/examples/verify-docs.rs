//! `docs/verify.md`, word for word, against the stack: `cargo xtask conformance verify-docs`.
//!
//! Its shell blocks are run as they stand, by curl, openssl and python3, but for two lines: which gateway, and where AMD's
//! chain comes from, which for simulated hardware is the simulator's. Each case is one line of JSON on stdout.
#![expect(clippy::unwrap_used, reason = "a driver fails by panicking")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/rig.rs"]
mod rig;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::conformance::Run;
use tempfile::TempDir;

use crate::rig::{Rig, program};

const RUN: Run = Run("verify-docs");

const DOCUMENT: &str = include_str!("../../../docs/verify.md");
/// Nonces asked for at once, so that some of them share a report.
const TOGETHER: usize = 7;

#[tokio::main]
async fn main() {
    let mut rig = Rig::serving("openai").await;
    rig.blocking(|rig| {
        let reader = Reader::new(rig);
        RUN.case("as-it-stands", reader.reads("").map(drop));
        let judged = "cube verify --bundle bundle.json --nonce $nonce --spki $(openssl dgst -sha256 -r leaf.spki | cut -c-64) --policy policy.toml";
        RUN.case("cube-judges-what-was-fetched", reader.judged(judged));
        RUN.case("another-nonce-is-refused", refused(&reader.reads("nonce=$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=')\npython3 parts.py $nonce\n"), "another challenge"));
        RUN.case("another-key-is-refused", refused(&reader.reads("openssl ecparam -name prime256v1 -genkey | openssl pkey -pubout -outform der >leaf.spki\npython3 parts.py $nonce\n"), "another challenge"));
        RUN.case("one-byte-of-the-report-is-refused", refused(&reader.reads("printf 'X' | dd of=signed.bin bs=1 seek=16 conv=notrunc 2>/dev/null\nopenssl dgst -sha384 -verify vcek.pub -signature signature.der signed.bin\n"), ""));
        RUN.case("places-in-a-shared-report", reader.together());
    });
}

/// Somebody with a shell, who reads the document.
struct Reader {
    folder: TempDir,
    script: String,
    cube: String,
}

impl Reader {
    fn new(rig: &Rig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = rig.files();
        let host = rig.url.trim_start_matches("https://").to_owned();
        let root = files.root().display().to_string();
        std::fs::copy(files.client_policy(), folder.path().join("policy.toml")).unwrap();
        // The simulator's file begins with the ARK, AMD's answer with the ASK.
        let chain = format!(
            "awk '/BEGIN CERT/ {{n++}} n == 2' {root} >chain.pem\nawk '/BEGIN CERT/ {{n++}} n == 1' {root} >>chain.pem\n"
        );
        let blocks = DOCUMENT.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let blocks: String = blocks
            .map(|block| if block.contains("kdsintf.amd.com") { chain.clone() } else { block.to_owned() })
            .collect();
        let asked = "host=gateway.example.org:8443\n";
        assert!(blocks.contains(asked) && DOCUMENT.contains("kdsintf.amd.com"));
        let script = format!("set -euo pipefail\n{}", blocks.replace(asked, &format!("host={host}\n")));
        let cube = format!("{} verify --allow-simulated {root}", program("cube").display());
        Self { folder, script, cube }
    }

    /// What the document's commands and then `more` print.
    fn reads(&self, more: &str) -> Result<String, String> {
        run(self.folder.path(), &format!("{}{more}", self.script))
    }

    /// By a line of the document that is none of its shell blocks.
    fn judged(&self, line: &str) -> Result<(), String> {
        assert!(DOCUMENT.contains(line), "{line} is not in the document");
        self.reads(&line.replace("cube verify", &self.cube)).map(drop)
    }

    /// Each asks for itself, all at once: some are answered by one report, each at another place of its tree.
    fn together(&self) -> Result<(), String> {
        let shared = "python3 -c 'import json; print(json.load(open(\"bundle.json\"))[\"tree\"][\"n\"])'\n";
        let script = format!("{}{shared}", self.script);
        let folders: Vec<_> = (0..TOGETHER).map(|_| tempfile::tempdir().unwrap()).collect();
        let said: Result<Vec<_>, _> = std::thread::scope(|scope| {
            let readers: Vec<_> =
                folders.iter().map(|folder| scope.spawn(|| run(folder.path(), &script))).collect();
            readers.into_iter().map(|reader| reader.join().unwrap()).collect()
        });
        // That they came together is chance; that each was right is not.
        said.map(drop)
    }
}

fn run(folder: &Path, script: &str) -> Result<String, String> {
    let output = Command::new("bash").args(["-c", script]).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}

fn refused(said: &Result<String, String>, why: &str) -> Result<(), String> {
    match said {
        Ok(passed) => Err(format!("it passed: {passed}")),
        Err(refusal) if refusal.contains(why) => Ok(()),
        Err(refusal) => Err(refusal.clone()),
    }
}
