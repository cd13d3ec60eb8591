//! The peers: how each is installed and asked. Versions are fixed, so that what is said of them stays true.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use super::{Vector, Verdict, Verdicts};
use crate::{
    conformance::grpcurl,
    peers::{self, Peer as Program},
    shell::{cache, output, run, workspace},
};

pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) ask: fn(&[Vector]) -> Result<Ran>,
}

/// What came of asking a peer.
pub(super) enum Ran {
    Judged(Verdicts),
    /// Something that it needs is not on this machine.
    Missing(String),
}

pub(super) const PEERS: &[Peer] = &[
    Peer { name: "snpguest", version: peers::SNPGUEST, ask: snpguest },
    Peer { name: "sev-openssl", version: peers::SEV, ask: |vectors| sev("sev-openssl", vectors) },
    Peer { name: "sev-nossl", version: peers::SEV, ask: |vectors| sev("sev-nossl", vectors) },
    Peer { name: "go-sev-guest", version: "0.15.0", ask: go_sev_guest },
    Peer { name: "az-snp-vtpm", version: "0.8.2", ask: |_| Ok(Ran::Missing(AZ_SNP_VTPM.to_owned())) },
];
const AZ_SNP_VTPM: &str =
    "its verifier links the TPM software stack (libtss2) and OpenSSL; this run does not install them";

/// One line of what a program of `conformance/snp-peers` answers.
#[derive(Deserialize)]
struct Answer {
    id: String,
    accepts: bool,
    why: String,
}

fn answers(printed: &[u8]) -> Result<Ran> {
    let lines = std::str::from_utf8(printed)?.lines();
    let read = |line| -> Result<_> {
        let Answer { id, accepts, why } = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
        Ok((id, Verdict { accepts, words: why }))
    };
    lines.map(read).collect::<Result<_>>().map(Ran::Judged)
}

fn sev(name: &str, vectors: &[Vector]) -> Result<Ran> {
    match peers::sev(name)? {
        Program::Missing(why) => Ok(Ran::Missing(why)),
        Program::At(program) => {
            let folders = vectors.iter().map(|vector| &vector.folder);
            answers(&output(Command::new(program).arg("verdict").args(folders))?)
        }
    }
}

/// Both of its commands: one verifies the chain, the other the report under the certificate.
fn snpguest(vectors: &[Vector]) -> Result<Ran> {
    let program = match peers::snpguest()? {
        Program::Missing(why) => return Ok(Ran::Missing(why)),
        Program::At(program) => program,
    };
    let judge = |vector: &Vector| {
        let mut chain = Command::new(&program);
        chain.args(["verify", "certs"]).arg(&vector.folder);
        let mut report = Command::new(&program);
        report.args(["verify", "attestation"]).arg(&vector.folder).arg(vector.folder.join("report.bin"));
        report.args(["--processor-model", &vector.product.to_lowercase()]);
        let refusal = match refusal(&mut chain)? {
            Some(why) => Some(why),
            None => refusal(&mut report)?,
        };
        let verdict = Verdict { accepts: refusal.is_none(), words: refusal.unwrap_or_default() };
        Ok((vector.id.clone(), verdict))
    };
    vectors.iter().map(judge).collect::<Result<_>>().map(Ran::Judged)
}

/// What a program said on one line, where it did not end well.
fn refusal(command: &mut Command) -> Result<Option<String>> {
    let output = command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).output()?;
    let said = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((!output.status.success()).then_some(words))
}

/// The program in `conformance/snp-peers/go`, built by the Go toolchain that grpcurl is built by.
fn go_sev_guest(vectors: &[Vector]) -> Result<Ran> {
    let tools = match grpcurl::tools() {
        Ok(tools) => tools,
        Err(error) => return Ok(Ran::Missing(format!("there is no Go toolchain: {error:#}"))),
    };
    if let Err(error) = run(&mut go(&tools, &["mod", "download"])?) {
        return Ok(Ran::Missing(format!("the Go module proxy does not answer: {error:#}")));
    }
    let program = home()?.join("go-sev-guest");
    run(go(&tools, &["build", "-o"])?.arg(&program).arg("."))?;
    let roots = workspace().join("../shared/evidence/amd-ca");
    let question = |vector: &Vector| {
        let Vector { folder, at, product, .. } = vector;
        json!({ "folder": folder, "at": at, "product": product, "roots": roots }).to_string()
    };
    let questions = vectors.iter().map(question).collect::<Vec<_>>().join("\n");
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // What it answers until all is asked fits into a pipe.
    child.stdin.take().context("no stdin")?.write_all(questions.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "go-sev-guest's program ended with {}", output.status);
    answers(&output.stdout)
}

/// Go in the folder of our program, which keeps what it loads and builds to itself.
fn go(tools: &Path, arguments: &[&str]) -> Result<Command> {
    let home = home()?;
    let mut go = Command::new(tools.join("go"));
    go.current_dir(workspace().join("conformance/snp-peers/go")).args(arguments);
    go.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env("GOFLAGS", "-modcacherw");
    go.env("GOPATH", home.join("path")).env("GOCACHE", home.join("cache"));
    Ok(go)
}

fn home() -> Result<PathBuf> {
    let home = cache().join("snp-peers");
    fs::create_dir_all(&home)?;
    Ok(home)
}
