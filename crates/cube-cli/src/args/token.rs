//! The command line of `cube token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use snp_evidence::UnixTime;

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Say in words what a health token says, and who vouches for it.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
#[command(after_help = INSPECT_HELP)]
pub(crate) struct InspectArgs {
    /// A file that holds the token, or - for stdin.
    #[arg(value_name = "FILE|-")]
    pub(crate) token: PathBuf,
    /// The key manifest whose attestation-svc has to have signed it.
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    pub(crate) manifest: Option<PathBuf>,
    /// A bundle that `cube report` saved: the key manifest is in it.
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Judge as of this time instead of now.
    #[arg(long, value_name = "RFC3339", value_parser = crate::args::rfc3339)]
    pub(crate) at: Option<UnixTime>,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const INSPECT_HELP: &str = "\
Examples:
  cube token inspect token.jwt
  cube token inspect - --bundle bundle.json --at 2026-09-01T00:00:00Z < token.jwt

Health tokens are what gateway and adapter show each other inside the CVM; they prove nothing
to anybody outside. Without --manifest or --bundle the signature is not checked, and anybody
may have written what is shown. With one, it is held against that manifest; whether that is
genuine is what `cube verify` finds out. The token itself is never printed.

Exit codes: 0 read, or signed and in time where a manifest is named; 10 no health token, or
refused by that check; 2 wrong usage.";
