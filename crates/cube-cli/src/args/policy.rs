//! The command line of `cube policy`.

use std::path::PathBuf;

use attested_client::Target;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use snp_evidence::{Product, UnixTime};

use super::{RootArgs, ServerArgs, measure::Covers};

#[derive(Debug, Args)]
#[command(after_help = POLICY_HELP)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Write a strict policy with every rule explained, from verified evidence where you have some.
    New(Box<NewArgs>),
    /// Read policies as the services do: all problems at once, digest, weak spots.
    Check(CheckArgs),
    /// Say in words what a policy demands, what that stops, and what stays unproven.
    Explain(ExplainArgs),
    /// Say which rules of a second policy are stricter or looser.
    Diff(DiffArgs),
    /// Turn another product's policy into ours, and name every check that it left open.
    Import(ImportArgs),
}

#[derive(Debug, Args)]
#[command(after_help = NEW_HELP)]
#[command(group = ArgGroup::new("evidence").args(["from_report", "from_bundle", "from"]))]
pub(crate) struct NewArgs {
    /// Whom it is for.
    #[arg(long = "for", value_enum, value_name = "WHO", default_value = "client")]
    pub(crate) who: Audience,
    /// Products to accept any genuine chip of; of Milan, chips have to be listed all the same.
    #[arg(long, value_name = "PRODUCT,…", value_delimiter = ',')]
    pub(crate) product: Vec<Product>,
    /// Launch measurements, 48 bytes each, as `cube measure` prints them.
    #[arg(long, value_name = "HEX,…", value_delimiter = ',', value_parser = crate::input::value48, requires = "covers")]
    pub(crate) measurement: Vec<[u8; 48]>,
    /// How far the measurement reaches. Userspace holds only where the services are inside the measured initrd, or
    /// behind a verity root hash in the measured command line.
    #[arg(long, value_enum, value_name = "COVERS")]
    pub(crate) covers: Option<Covers>,
    /// SHA-256 of measured.toml, the HOST_DATA that the guest is launched with.
    #[arg(long, value_name = "HEX,…", value_delimiter = ',', value_parser = crate::input::value32)]
    pub(crate) host_data: Vec<[u8; 32]>,
    /// Fill in what this bare attestation report (1184 bytes) shows.
    #[arg(long, value_name = "FILE", requires = "certs")]
    pub(crate) from_report: Option<PathBuf>,
    /// With --from-report: a folder with vcek.der or vlek.der, and as needed ask.pem, asvk.pem, ark.pem, crl.der.
    #[arg(long, value_name = "DIR", requires = "from_report")]
    pub(crate) certs: Option<PathBuf>,
    /// Fill in what a bundle shows that `cube report` saved.
    #[arg(long, value_name = "FILE", requires = "nonce")]
    pub(crate) from_bundle: Option<PathBuf>,
    /// With --from-bundle: the nonce that the evidence was made for.
    #[arg(long, value_name = "HEX|B64U", value_parser = crate::input::nonce, requires = "from_bundle")]
    pub(crate) nonce: Option<crate::input::Nonce>,
    /// With --from-bundle: the exporter value of the connection it came from.
    #[arg(long, value_name = "HEX|B64U", value_parser = crate::input::value32, requires = "from_bundle")]
    pub(crate) exporter: Option<[u8; 32]>,
    /// With --from-bundle: the SHA-256 of the SPKI that the gateway showed.
    #[arg(long, value_name = "HEX|B64U", value_parser = crate::input::value32, requires = "from_bundle")]
    pub(crate) spki: Option<[u8; 32]>,
    /// Fill in what the gateway at https://HOST:PORT shows.
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<Target>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) roots: RootArgs,
    /// Judge the evidence as of this time instead of now.
    #[arg(long, value_name = "RFC3339", value_parser = super::rfc3339, requires = "evidence")]
    pub(crate) at: Option<UnixTime>,
    /// The file to write, which must not exist; stdout where left out.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Who will judge by a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Audience {
    /// Whoever checks the gateway from outside.
    Client,
    /// The services, which judge the machine that they run on.
    Services,
}

#[derive(Debug, Args)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct CheckArgs {
    /// Policy files.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_HELP)]
pub(crate) struct ExplainArgs {
    /// The policy file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print the explanation as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = DIFF_HELP)]
pub(crate) struct DiffArgs {
    /// The policy to start from.
    #[arg(value_name = "A")]
    pub(crate) from: PathBuf,
    /// The policy that is to take its place.
    #[arg(value_name = "B")]
    pub(crate) to: PathBuf,
    /// Print the changed rules as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = IMPORT_HELP)]
pub(crate) struct ImportArgs {
    /// Whose form the file has: cube = Cube AI's attestation_policy.json (cocos 0.8 and before).
    #[arg(long, value_enum, value_name = "WHOSE")]
    pub(crate) from: Origin,
    /// The file to read.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Checks that the file left open and that are to stay so: off, with that as the reason.
    #[arg(long, value_name = "CHECK,…", value_delimiter = ',')]
    pub(crate) keep_open: Vec<String>,
    /// The file to write, which must not exist; stdout where left out.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Forms that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Origin {
    Cube,
}

const POLICY_HELP: &str = "\
Examples:
  cube policy new --from https://HOST:8443 --out policy.toml
  cube policy check policy.toml
  cube policy explain policy.toml
  cube policy diff old.toml new.toml
  cube policy import --from cube attestation_policy.json --out policy.toml

A policy states every check; docs/spec/policy.md has each rule and its forms.";

const NEW_HELP: &str = "\
Examples:
  cube policy new --product genoa --measurement HEX --covers userspace --host-data HEX
  cube policy new --from https://HOST:8443 --out policy.toml
  cube policy new --from-report report.bin --certs DIR --out policy.toml
  cube policy new --for services --product turin --measurement HEX --covers userspace

Values are taken from evidence only where its core checks pass, and are marked as observed. What
you see once is no proof that it is yours: compare the measurement with `cube measure`. What nobody
stated refuses everything (an empty list), and stderr says what to fill in.

Exit codes: 0 written, 2 wrong usage; where evidence does not pass, that of `cube verify`, and
nothing is written.";

const CHECK_HELP: &str = "\
Example:
  cube policy check policy.toml client.toml

Prints each file's problems with their lines; or its digest, as `policy_sha256` in measured.toml has
to state it, its weak spots, and what is off for which reason. Weak spots are no errors.

Exit codes: 0 every file is a policy, 2 one is not.";

const EXPLAIN_HELP: &str = "\
Example:
  cube policy explain policy.toml

Of each rule: required, allowed or off; what it stops, or does not; and the advisories behind it, with
the day they were last looked at. UNCONFIRMED marks those that nobody compared with AMD's own text.

Exit codes: 0, or 2 where the file is no policy.";

const DIFF_HELP: &str = "\
Example:
  cube policy diff policy.toml new.toml

Compares demands, not text: order and comments do not matter. Stricter means that whatever B accepts
A accepts too; looser the reverse; other means neither.

Exit codes, as diff has them: 0 the same demands and reasons, 1 they differ, 2 a file is no policy.";

const IMPORT_HELP: &str = "\
Examples:
  cube policy import --from cube attestation_policy.json --out policy.toml
  cube policy import --from cube attestation_policy.json --keep-open report_id,guest_svn

In the other product an absent key leaves its check out. Here each such check is named on stderr, and
stated so that nothing passes until you set it, or name it in --keep-open. PCR values and unknown keys
are named, and not carried over.

Exit codes: 0 written; 1 written, but the file permits provisional firmware, names Milan without a chip,
or measures no software, so decide first; 2 the file cannot be imported, and nothing is written.";
