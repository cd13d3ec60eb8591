//! `cube trust-sync`.

use std::{path::PathBuf, str::FromStr};

use attested_client::Target;
use clap::Args;

use super::{RootArgs, ServerArgs};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct TrustSyncArgs {
    /// The gateways, each of one CVM: https://HOST:PORT.
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<Target>,
    /// What you demand of software and machine (TOML), of each of them.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// The folder to write bundle.pem and bundle.json to; made where it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Also write configmap.yaml, a ConfigMap of Kubernetes with both files.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub(crate) config_map: Option<ConfigMap>,
    /// Verify anew every so many seconds, until stopped.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub(crate) every: Option<u64>,
    #[command(flatten)]
    pub(crate) roots: RootArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The name of a ConfigMap, and its namespace.
#[derive(Debug, Clone)]
pub(crate) struct ConfigMap {
    namespace: Option<String>,
    name: String,
}

impl FromStr for ConfigMap {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) =
            text.split_once('/').map_or((None, text), |(space, name)| (Some(space), name));
        // RFC 1123, as Kubernetes has it for labels.
        let label = |text: &str| {
            (1..=63).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        if label(name) && namespace.is_none_or(label) {
            return Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() });
        }
        Err("need [NAMESPACE/]NAME, each 1 to 63 of a-z 0-9 -")
    }
}

impl ConfigMap {
    /// As `kubectl apply -f` takes it. The trust domain is a name that was checked, and needs no quotes.
    pub(crate) fn manifest(&self, trust_domain: &str, pem: &str, bundle: &str) -> String {
        let mut lines =
            vec!["apiVersion: v1".to_owned(), "kind: ConfigMap".to_owned(), "metadata:".to_owned()];
        lines.push(format!("  name: {}", self.name));
        lines.extend(self.namespace.iter().map(|namespace| format!("  namespace: {namespace}")));
        lines.extend(["  annotations:".to_owned(), format!("    cube/trust-domain: \"{trust_domain}\"")]);
        lines.push("data:".to_owned());
        for (name, text) in [("bundle.pem", pem), ("bundle.json", bundle)] {
            lines.push(format!("  {name}: |"));
            lines.extend(text.lines().map(|line| format!("    {line}")));
        }
        lines.join("\n") + "\n"
    }
}

const HELP: &str = "\
Examples:
  cube trust-sync https://a:8443 https://b:8443 --policy policy.toml --out trust
  cube trust-sync https://a:8443 --policy policy.toml --out trust --config-map mesh/cube-trust --every 60

bundle.pem is for trusted_ca of Envoy and for clients, bundle.json is a SPIFFE bundle (federation, SPIRE). A gateway
that is not verified is left out, and its verdict is the exit code; where none is, nothing is written. Each
restart of an attestation-svc makes a new CA, so keep it running (--every) beside the mesh.";
