//! The chart, by real Helm; what it renders, and the files for Istio and Linkerd, by their own schemas; alerts and dashboard.

use std::process::Command;

use anyhow::Result;

use super::go;
use crate::shell::{cargo, python, run, target, workspace};

const SCRIPT: &str = "crates/xtask/src/conformance/helm.py";
const HELM: &str = "3.22.0";
/// Kubernetes' schemas, and what reads the others.
const PACKAGES: &[&str] =
    &["kubernetes-validate==1.37.0", "pyyaml==6.0.3", "jsonschema==4.26.0", "promql-parser==0.12.0"];
/// Whose resources the files have.
const ISTIO: &str = "istio.io/api@v1.32.0";
const PROMETHEUS: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";

pub(super) fn driver() -> Result<Command> {
    let helm = go::program("helm", "helm.sh/helm/v3/cmd/helm", HELM)?;
    let python = python("helm", PACKAGES)?.join("python");
    let services = ["attestation-svc", "inference-gateway", "backend-adapter"];
    run(cargo(&["build", "--locked", "--bins"])
        .args(services.iter().flat_map(|service| ["--package", service])))?;
    let mut driver = Command::new(python);
    driver.current_dir(workspace()).arg(SCRIPT).arg(helm).arg(target()?.join("debug"));
    driver.arg(go::module(ISTIO)?.join("kubernetes/customresourcedefinitions.gen.yaml"));
    driver.arg(go::module(PROMETHEUS)?.join("example/prometheus-operator-crd"));
    Ok(driver)
}
