//! The command line of `cube audit`.

use std::path::PathBuf;

use audit_log::Hash;
use clap::{Args, Subcommand};

use crate::input::value32;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Follow the chain of hashes through attestation-svc's audit log; show its head and what it holds.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
#[command(after_help = VERIFY_HELP)]
pub(crate) struct VerifyArgs {
    /// The folder `audit.dir`, or files of it from old to new.
    #[arg(value_name = "DIR|FILE", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// A head that you know from earlier: the log must go on from it.
    #[arg(long, value_name = "HEX|B64U", value_parser = head)]
    pub(crate) head: Option<Hash>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn head(text: &str) -> Result<Hash, &'static str> {
    value32(text).map(Hash)
}

const VERIFY_HELP: &str = "\
Examples:
  cube audit verify /var/lib/cube/audit
  cube audit verify /var/lib/cube/audit --head HEX

Hashes show that nothing was altered, left out or put in between; whoever can write the folder
can still write another log from the start, or cut the end off. What tells that is a head that
you kept elsewhere: from `cube admin state`, from the runtime claims of a verified bundle
(audit_head), or from an earlier run.

Exit codes: 0 whole, 10 broken or without that head, 2 wrong usage or nothing to read.";
