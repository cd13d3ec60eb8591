//! gRPC's own libraries for Python, Node and Go, with stubs that are made as README says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::json;

use super::{example, grpcurl, sdk};
use crate::{
    backend, ci,
    shell::{cache, python, run, workspace},
};

const PYTHON: &[&str] = &["grpcio-tools==1.85.1", "grpcio-status==1.85.1"];
const NODE: &[(&str, &str)] = &[("@grpc/grpc-js", "1.14.7"), ("@grpc/proto-loader", "0.8.1")];
/// What makes Go's stubs.
const GO: &[&str] = &[
    "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
];
/// `crates/e2e/examples/sdk`, with an interpreter or program for each of the three.
pub(super) fn driver() -> Result<Command> {
    backend::install()?;
    let python = python("grpc-clients", PYTHON)?.join("python");
    let home = cache().join("grpc-clients");
    let (stubs, node, go) = (python_stubs(&python, &home)?, sdk::packages(NODE)?, go(&home)?);
    let mut driver = example("sdk")?;
    driver.arg("grpc-clients").arg(python).arg("node").arg(go);
    driver.env("PYTHONPATH", stubs).env("PROTOS", workspace().join("proto"));
    driver.current_dir(node);
    Ok(driver)
}

/// Made anew each time: the .proto files may have changed.
fn python_stubs(python: &Path, home: &Path) -> Result<PathBuf> {
    let stubs = home.join("python");
    fs::create_dir_all(&stubs)?;
    let mut protoc = Command::new(python);
    protoc.current_dir(workspace().join("proto")).args(["-m", "grpc_tools.protoc", "-I", "."]);
    protoc.arg(option("--python_out=", &stubs)).arg(option("--grpc_python_out=", &stubs));
    run(protoc.args(["cube/inference/v1/chat.proto", "cube/inference/v1/inference.proto"]))?;
    Ok(stubs)
}

fn option(name: &str, folder: &Path) -> String {
    format!("{name}{}", folder.display())
}

/// The client in Go, built.
fn go(home: &Path) -> Result<PathBuf> {
    let (go, buf) = (grpcurl::tools()?.join("go"), ci::buf()?);
    let (work, bin) = (home.join("go"), home.join("bin"));
    let in_cache = |program: &Path| {
        let mut command = Command::new(program);
        command.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-modcacherw").env("CGO_ENABLED", "0");
        command.env("GOPATH", home.join("path")).env("GOCACHE", home.join("built")).env("GOBIN", &bin);
        command
    };
    for plugin in GO {
        run(in_cache(&go).args(["install", plugin])).context("the Go module proxy is needed")?;
    }
    fs::create_dir_all(&work)?;
    for file in ["go.mod", "go.sum", "main.go"] {
        fs::copy(workspace().join("crates/e2e/examples/sdk/go").join(file), work.join(file))?;
    }
    let (protos, template) = (workspace().join("proto"), template(&bin));
    run(in_cache(&buf).current_dir(&work).arg("generate").arg(protos).args(["--template", &template]))?;
    run(in_cache(&go).current_dir(&work).args(["build", "-o", "clients", "."]))?;
    Ok(work.join("clients"))
}

/// How buf makes Go's stubs.
fn template(bin: &Path) -> String {
    let plugin = |name| json!({"local": bin.join(name), "out": "gen", "opt": "paths=source_relative"});
    let prefix = json!({"file_option": "go_package_prefix", "value": "cube.example/clients/gen"});
    let template = json!({
        "version": "v2",
        "managed": {"enabled": true, "override": [prefix]},
        "plugins": [plugin("protoc-gen-go"), plugin("protoc-gen-go-grpc")],
    });
    template.to_string()
}
