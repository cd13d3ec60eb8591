//! The command line. Help texts teach by example.

pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod key;
pub(crate) mod measure;
pub(crate) mod migrate;
pub(crate) mod policy;
pub(crate) mod proxy;
pub(crate) mod token;
pub(crate) mod trust_sync;

use std::{path::PathBuf, time::Duration};

use attested_client::{Binding, Limits, Target};
use clap::{ArgGroup, Args, Parser, Subcommand};
use snp_evidence::UnixTime;

use crate::exit::Exit;

/// Proves that an LLM endpoint runs inside an AMD SEV-SNP confidential VM, before the first prompt leaves you.
#[derive(Debug, Parser)]
#[command(name = "cube", version, after_help = CUBE_HELP)]
pub(crate) struct Cube {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a gateway, a saved bundle or a stored report; show every check.
    Verify(Box<VerifyArgs>),
    /// Save a gateway's evidence, with the flags that check it later.
    Report(ReportArgs),
    /// Check a gateway, then talk to its model over that very connection.
    Chat(ChatArgs),
    /// Stay between a gateway and clients that cannot check it; they get a local base URL and a key.
    Proxy(proxy::ProxyArgs),
    /// Check a gateway, then print the CA certificate that its evidence vouches for.
    Trust(TrustArgs),
    /// Check many gateways, and write the CAs of those that pass as a mesh wants them.
    TrustSync(trust_sync::TrustSyncArgs),
    /// Inside the CVM: see what attestation-svc vouches for; revoke, reinstate, rotate.
    Admin(admin::AdminArgs),
    /// Check attestation-svc's audit log.
    Audit(audit::AuditArgs),
    /// For operators of a gateway: keys of its callers.
    Key(key::KeyArgs),
    /// Read a health token in words.
    Token(token::TokenArgs),
    /// Write the .proto files and their descriptor set, to generate clients from.
    Protos(ProtosArgs),
    /// Compute the launch measurement that a guest will report, for your policy.
    Measure(measure::MeasureArgs),
    /// From Cube AI's files to Cube's.
    Migrate(migrate::MigrateArgs),
    /// Write, check, explain, compare and import policies.
    Policy(policy::PolicyArgs),
}

#[derive(Debug, Args)]
#[command(after_help = verify_help())]
#[command(group = ArgGroup::new("subject").required(true).args(["url", "bundle", "report", "azure"]))]
pub(crate) struct VerifyArgs {
    /// The gateway: https://HOST:PORT.
    #[arg(value_name = "URL")]
    pub(crate) url: Option<Target>,
    /// A bundle that `cube report` saved.
    #[arg(long, value_name = "FILE", requires = "nonce")]
    pub(crate) bundle: Option<PathBuf>,
    /// A bare attestation report (1184 bytes), judged without freshness and channel.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// What an Azure confidential VM shows: a folder with hcl_report.bin, tpm_quote.msg, tpm_quote.sig, vcek.der,
    /// and perhaps runtime_data.json, pcrs.json, ask.pem, ark.pem. Needs --nonce.
    #[arg(long, value_name = "DIR")]
    pub(crate) azure: Option<PathBuf>,
    /// With --bundle or --azure: the nonce that the evidence was made for.
    #[arg(long, value_name = "HEX|B64U", value_parser = crate::input::nonce, conflicts_with_all = ["url", "report"])]
    pub(crate) nonce: Option<crate::input::Nonce>,
    /// With --bundle: the exporter value of the connection it came from.
    #[arg(long, value_name = "HEX|B64U", value_parser = crate::input::value32, requires = "bundle")]
    pub(crate) exporter: Option<[u8; 32]>,
    /// With --bundle: the SHA-256 of the SPKI that the gateway showed. Alone, it means binding tls-spki.
    #[arg(long, value_name = "HEX|B64U", value_parser = crate::input::value32, requires = "bundle")]
    pub(crate) spki: Option<[u8; 32]>,
    /// With --report: a folder with vcek.der or vlek.der, and as needed ask.pem, asvk.pem, ark.pem, crl.der.
    /// With --azure where they are in another folder than the rest.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "bundle"])]
    pub(crate) certs: Option<PathBuf>,
    /// With --report: ask AMD's key server, or this mirror, for what --certs lacks. It learns which chip is meant.
    #[arg(long, value_name = "URL", value_parser = crate::fetch::server, requires = "report", num_args = 0..=1,
        default_missing_value = "https://kdsintf.amd.com")]
    pub(crate) fetch: Option<http::Uri>,
    /// How the report must be bound to the connection.
    #[arg(long, value_name = BINDINGS, default_value = "tls-exporter", conflicts_with_all = ["bundle", "report", "azure"])]
    pub(crate) binding: Binding,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// What you demand of software and machine (TOML). Without it nothing is trusted.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) roots: RootArgs,
    /// Judge as of this time instead of now.
    #[arg(long, value_name = "RFC3339", value_parser = rfc3339)]
    pub(crate) at: Option<UnixTime>,
    /// With URL: compare with what the last verdict saw of this gateway, kept in FILE: its audit log may only have grown, and
    /// its own policy not be one that it had given up. URL has to lead to one CVM.
    #[arg(long, value_name = "FILE", requires = "policy", conflicts_with_all = ["bundle", "report", "azure"])]
    pub(crate) remember: Option<PathBuf>,
    /// Print the verdict as JSON.
    #[arg(long, conflicts_with = "summary")]
    pub(crate) json: bool,
    /// Print at most 12 lines: passed checks are grouped.
    #[arg(long)]
    pub(crate) summary: bool,
}

#[derive(Debug, Args)]
#[command(after_help = REPORT_HELP)]
pub(crate) struct ReportArgs {
    /// The gateway: https://HOST:PORT.
    #[arg(value_name = "URL")]
    pub(crate) url: Target,
    /// Your own nonce, 32 bytes; a fresh one is drawn where it is left out.
    #[arg(long, value_name = "HEX|B64U", value_parser = crate::input::value32)]
    pub(crate) nonce: Option<[u8; 32]>,
    /// How the report must be bound to the connection.
    #[arg(long, value_name = BINDINGS, default_value = "tls-exporter")]
    pub(crate) binding: Binding,
    /// Where to save the bundle; stdout where left out.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = CHAT_HELP)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// The model; the gateway's first where left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Instructions that stand before the prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The prompt; read from stdin where left out.
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = TRUST_HELP)]
pub(crate) struct TrustArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}

#[derive(Debug, Args)]
#[command(after_help = PROTOS_HELP)]
pub(crate) struct ProtosArgs {
    /// The folder to write to; made where it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Replace files of the same names that have other content.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Which gateway, and what must hold before anything is said to it.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// The gateway: https://HOST:PORT.
    #[arg(value_name = "URL")]
    pub(crate) url: Target,
    /// What you demand of software and machine (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    #[command(flatten)]
    pub(crate) roots: RootArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Also demand a certificate for the host's name from one of these CAs (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Most seconds to connect, and to wait for the report. [default: 10 and 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: Option<u64>,
}

impl ServerArgs {
    pub(crate) fn limits(&self) -> Limits {
        self.timeout.map_or_else(Limits::default, |seconds| {
            let limit = Duration::from_secs(seconds);
            Limits { connect: limit, report: limit }
        })
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RootArgs {
    /// Accept simulated hardware under this root, and no AMD hardware. Proves nothing.
    #[arg(long, value_name = "ROOT.pem")]
    pub(crate) allow_simulated: Option<PathBuf>,
}

pub(crate) fn rfc3339(text: &str) -> Result<UnixTime, &'static str> {
    UnixTime::parse_rfc3339(text).ok_or("need a time such as 2026-09-01T00:00:00Z")
}

const BINDINGS: &str = "tls-exporter|tls-spki";

const CUBE_HELP: &str = "\
Start here:
  cube policy new --from https://HOST:8443 --out policy.toml
  cube verify https://HOST:8443 --policy policy.toml
  cube chat   https://HOST:8443 --policy policy.toml \"What is gravity?\"";

const VERIFY_EXAMPLES: &str = "\
Examples:
  cube verify https://HOST:8443 --policy policy.toml
  cube verify https://HOST:8443                          what it shows, before you have a policy
  cube verify https://HOST:8443 --policy policy.toml --remember seen.json
  cube verify https://localhost:8443 --policy policy.toml --allow-simulated root.pem
  cube verify --bundle bundle.json --nonce HEX --exporter HEX --policy policy.toml
  cube verify --report report.bin --certs DIR --policy policy.toml --at 2026-09-01T00:00:00Z
  cube verify --report report.bin --fetch --policy policy.toml
  cube verify --azure DIR --nonce HEX --policy policy.toml

Verdicts and exit codes:";

fn verify_help() -> String {
    let line = |(exit, verdict, meaning, _): &(Exit, &str, &str, &str)| {
        format!("\n  {:>2}  {verdict:<11}  {meaning}", *exit as u8)
    };
    std::iter::once(VERIFY_EXAMPLES.to_owned()).chain(Exit::TABLE.iter().map(line)).collect()
}

const REPORT_HELP: &str = "\
Example:
  cube report https://HOST:8443 -o bundle.json
prints the `cube verify --bundle` line that checks the file later. The nonce and the
exporter in it come from your side of the connection; the bundle alone proves nothing.";

const CHAT_HELP: &str = "\
Examples:
  cube chat https://HOST:8443 --policy policy.toml \"What is gravity?\"
  cube chat https://HOST:8443 --policy policy.toml --system \"Answer in one line.\" < question.txt

The prompt leaves only after the checks of `cube verify` passed, on the connection they
passed for. Exit codes are those of `cube verify`; 1 where the answer failed afterwards.";

const TRUST_HELP: &str = "\
Example:
  cube trust https://HOST:8443 --policy policy.toml > ca.pem
  curl --cacert ca.pem https://HOST:8443/v1/models

Pins one running instance: its CA lives in the CVM's memory and is new after each restart of
attestation-svc. A client that trusts this file checks no evidence of its own.";

const PROTOS_HELP: &str = "\
Example:
  cube protos --out protos
writes protos/cube/PACKAGE/v1/*.proto, which import one another as seen from protos/ and
nothing else, and protos/cube.binpb, the same as a descriptor set with comments. Then
  protoc -I protos --python_out=gen protos/cube/inference/v1/*.proto
  grpcurl -protoset protos/cube.binpb describe cube.inference.v1.InferenceService
or ask a running gateway: it has gRPC reflection. InferenceService, ModelService and
AttestationService are for callers outside; the other services are Cube's own inside the CVM.

Prints each file that it wrote. Touches no other file, and none of these where one has
other content, unless --force is given.";
