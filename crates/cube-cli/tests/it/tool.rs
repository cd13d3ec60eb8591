//! Runs the built binary.

use std::process::{Output, Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

/// What one run of `cube` printed, and how it ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}\nstdout: {}\nstderr: {}", self.stdout, self.stderr))
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn verdict(&self) -> String {
        self.json()["verdict"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn cube(args: &[&str]) -> Run {
    cube_reading(args, "").await
}

pub(crate) async fn cube_reading(args: &[&str], stdin: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cube"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // A run that refuses its arguments does not read.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()).await);
    let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
    Run {
        code: status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
