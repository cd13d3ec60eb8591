//! Arrows between crates, as the manifests draw them.
#![expect(clippy::indexing_slicing, reason = "indexing a JSON value yields null where nothing is")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

/// Which of our crates each of our crates may name, beyond [`EVERYBODY`]. Missing here = nothing.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("audit-log", &[]),
    ("service-runtime", &[]),
    ("mtls", &[]),
    ("grpc-surface", &[]),
    ("snp-evidence", &[]),
    ("health-token", &[]),
    ("snp-simulator", &[]),
    ("launch-measurement", &[]),
    ("cvm-init", &[]),
    ("azure-vtpm", &["snp-evidence"]),
    ("snp-platform", &["snp-evidence"]),
    ("collateral", &["snp-evidence"]),
    ("health-gate", &["health-token", "snp-evidence"]),
    ("attested-client", &["snp-evidence"]),
    (
        "cube-cli",
        &[
            "attested-client",
            "audit-log",
            "azure-vtpm",
            "collateral",
            "health-token",
            "launch-measurement",
            "snp-evidence",
        ],
    ),
    (
        "attestation-svc",
        &["audit-log", "collateral", "grpc-surface", "health-token", "snp-evidence", "snp-platform"],
    ),
    ("inference-gateway", &["grpc-surface", "health-gate", "snp-evidence"]),
    ("backend-adapter", &["grpc-surface", "health-gate", "snp-evidence"]),
    (
        "dev-stack",
        &[
            "attestation-svc",
            "backend-adapter",
            "inference-gateway",
            "snp-evidence",
            "snp-platform",
            "snp-simulator",
        ],
    ),
    ("e2e", &["attested-client", "dev-stack", "snp-evidence", "snp-simulator"]),
    ("xtask", &[]),
];
/// What every crate but those that stand alone may name.
const EVERYBODY: &[&str] = &["mtls", "proto", "service-runtime"];
/// Crates that may not name [`EVERYBODY`].
const ALONE: &[&str] = &[
    "azure-vtpm",
    "cvm-init",
    "health-token",
    "launch-measurement",
    "proto",
    "snp-evidence",
    "snp-simulator",
    "xtask",
];
/// Bytes in, verdict out: they reach nothing of [`IMPURE`].
const VERIFIERS: &[&str] = &["azure-vtpm", "health-token", "launch-measurement", "snp-evidence"];
/// Network, runtime, interfaces.
const IMPURE: &[&str] = &["hyper", "prost", "tokio", "tonic"];
/// What is shipped.
const SHIPPED: &[&str] = &["attestation-svc", "backend-adapter", "cube-cli", "cvm-init", "inference-gateway"];
/// Who depends on whom.
pub(super) struct Graph {
    ours: BTreeSet<String>,
    normal: BTreeMap<String, BTreeSet<String>>,
    all: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    pub(super) fn read(metadata: &Value) -> Result<Self> {
        let packages = metadata["packages"].as_array().context("no packages")?;
        let names: BTreeMap<&str, &Value> = packages.iter().map(|p| (text(&p["id"]), p)).collect();
        let name = |id: &Value| names.get(text(id)).map_or("", |package| text(&package["name"])).to_owned();
        let members = metadata["workspace_members"].as_array().context("no members")?;
        let mut graph =
            Self { ours: members.iter().map(name).collect(), normal: BTreeMap::new(), all: BTreeMap::new() };
        for node in metadata["resolve"]["nodes"].as_array().context("no graph")? {
            let from = name(&node["id"]);
            for to in node["deps"].as_array().context("no dependencies")? {
                let kinds = to["dep_kinds"].as_array().context("no kinds")?;
                graph.all.entry(from.clone()).or_default().insert(name(&to["pkg"]));
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    graph.normal.entry(from.clone()).or_default().insert(name(&to["pkg"]));
                }
            }
        }
        Ok(graph)
    }

    /// Arrows between our crates that design and ARCHITECTURE.md do not allow.
    pub(super) fn forbidden_arrows(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for from in &self.ours {
            let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == from) else {
                findings.push(format!("crate {from} has no entry in the table of arrows"));
                continue;
            };
            let everybody: &[&str] = if ALONE.contains(&from.as_str()) { &[] } else { EVERYBODY };
            let ours = self.normal.get(from).into_iter().flatten().filter(|to| self.ours.contains(*to));
            findings.extend(
                ours.filter(|to| !allowed.contains(&to.as_str()) && !everybody.contains(&to.as_str()))
                    .map(|to| format!("{from} must not depend on {to}")),
            );
        }
        for verifier in VERIFIERS {
            let reached = self.reached(verifier);
            findings.extend(
                IMPURE
                    .iter()
                    .filter(|to| reached.contains(**to))
                    .map(|to| format!("{verifier} must not reach {to}")),
            );
        }
        findings
    }

    /// Rule 12: simulated hardware cannot be mistaken for real.
    pub(super) fn paths_to_the_simulator(&self) -> Vec<String> {
        let leads = |from: &&&str| self.reached(from).contains("snp-simulator");
        SHIPPED
            .iter()
            .filter(leads)
            .map(|from| format!("{from} is shipped and reaches snp-simulator"))
            .collect()
    }

    /// Direct dependencies without a line in docs/dependencies.md.
    pub(super) fn undocumented_dependencies(&self, document: &Path) -> Vec<String> {
        let text = fs::read_to_string(document).unwrap_or_default();
        let direct: BTreeSet<_> = self.ours.iter().filter_map(|from| self.all.get(from)).flatten().collect();
        let external = direct.into_iter().filter(|name| !self.ours.contains(*name));
        external
            .filter(|name| !text.contains(&format!("| {name} |")))
            .map(|name| format!("{name} has no line in {}", document.display()))
            .collect()
    }

    /// What `from` reaches over normal dependencies.
    fn reached(&self, from: &str) -> BTreeSet<String> {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(next) = todo.pop() {
            for to in self.normal.get(&next).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    todo.push(to.clone());
                }
            }
        }
        seen
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_the_simulator_is_found() {
        let metadata = serde_json::json!({
            "packages": [{"id": "a", "name": "cube-cli", "license": "MIT"}, {"id": "b", "name": "snp-simulator", "license": "MIT"}],
            "workspace_members": ["a", "b"],
            "resolve": {"nodes": [
                {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}]},
                {"id": "b", "deps": []}
            ]}
        });
        let graph = Graph::read(&metadata).unwrap();
        assert_eq!(graph.paths_to_the_simulator().len(), 1);
        assert_eq!(graph.forbidden_arrows(), ["cube-cli must not depend on snp-simulator"]);
    }
}
