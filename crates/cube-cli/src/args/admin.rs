//! The command line of `cube admin`.

use std::path::PathBuf;

use clap::{
    ArgGroup, Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use proto::attestation::v1::RotationTarget;

/// The identities that can be revoked.
const ROLES: [&str; 2] = ["gateway", "adapter"];

#[derive(Debug, Args)]
#[command(after_help = ADMIN_HELP)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    pub(crate) order: Order,
    /// The administrator's socket: admin.sock in attestation-svc's run_dir.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/cube/admin.sock")]
    pub(crate) socket: PathBuf,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Show what is vouched for right now, and who holds which identity.
    State,
    /// Void health tokens at once; open streams that rest on them are cut.
    Revoke(RevokeArgs),
    /// Let a revoked identity enrol again.
    Reinstate(ReinstateArgs),
    /// Replace certificates or keys ahead of their time, without interrupting service.
    Rotate(RotateArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["role", "all"]))]
pub(crate) struct RevokeArgs {
    /// The identity to revoke: it is refused until it is reinstated.
    #[arg(value_parser = PossibleValuesParser::new(ROLES))]
    pub(crate) role: Option<String>,
    /// Void every token granted so far; live services get new ones within a second.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) why: ReasonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReinstateArgs {
    /// The identity.
    #[arg(value_parser = PossibleValuesParser::new(ROLES))]
    pub(crate) role: String,
    #[command(flatten)]
    pub(crate) why: ReasonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// What to replace: svids = the certificates of every service; ca = the CA that issues them; token-key = the key that
    /// signs health tokens.
    #[arg(value_parser = PossibleValuesParser::new(["svids", "ca", "token-key"]).map(|name| target(&name)))]
    pub(crate) target: RotationTarget,
    #[command(flatten)]
    pub(crate) why: ReasonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReasonArgs {
    /// Why: one line of at most 256 bytes for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

fn target(name: &str) -> RotationTarget {
    match name {
        "ca" => RotationTarget::Ca,
        "token-key" => RotationTarget::TokenKey,
        _ => RotationTarget::Svids,
    }
}

const ADMIN_HELP: &str = "\
Examples, as root or as attestation-svc's user, inside the CVM:
  cube admin state
  cube admin revoke gateway --reason \"ticket 4711: memory dump found\"
  cube admin reinstate gateway --reason \"ticket 4711: reinstalled\"
  cube admin revoke --all --reason \"drill\"
  cube admin rotate svids --reason \"monthly\"
  cube admin rotate token-key --reason \"ticket 4712\"

Exit codes: 0 done, 1 refused or not reached, 2 wrong usage.";
