//! Why the service ends, and with which exit code.

use std::path::PathBuf;

use service_runtime::Exit;
use tracing::error;

use crate::audit::{AuditError, Unwritten};
use crate::ca::CaError;
use crate::judge::JudgeError;
use crate::mint::MintError;
use crate::reporters::OtherReporter;

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// Two services would run as one user.
    #[error(
        "uid {0} is used twice among attestation-svc, the identities and backend.uid; give each a user of its own"
    )]
    SharedUid(u32),
    /// Somebody else can obtain reports.
    #[error(transparent)]
    OtherReporter(#[from] OtherReporter),
    /// The machine was not accepted.
    #[error(transparent)]
    Judged(#[from] JudgeError),
    /// AWS-LC gave no randomness.
    #[error(transparent)]
    Random(#[from] NoRandom),
    /// No CA or certificate.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// No token key.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// An identity of the deployment has a name that is no role.
    #[error("identity.{0} is none of a service of ours; correct the measured configuration")]
    Identity(String),
    /// No key of its own.
    #[error(transparent)]
    Key(#[from] mtls::KeyError),
    /// The unix sockets cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The audit log cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The start cannot be recorded.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}

impl BootError {
    /// The check that refused the machine, and what it saw.
    pub(crate) fn failed_check(&self) -> Option<(&'static str, String)> {
        if let Self::Judged(error) = self { error.failed_check() } else { None }
    }

    /// The exit code of its class.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Judged(error) => error.exit(),
            Self::OtherReporter(_) => Exit::Policy,
            // AWS-LC failing to make a key or a random number has no exit code of its own.
            Self::SharedUid(_)
            | Self::Socket(_)
            | Self::Audit(_)
            | Self::Unwritten(_)
            | Self::Identity(_)
            | Self::Random(_)
            | Self::Ca(_)
            | Self::Mint(_)
            | Self::Key(_) => Exit::Config,
        }
    }
}

/// AWS-LC gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes could be had")]
pub(crate) struct NoRandom;

/// Bytes that nobody can foresee.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// Tells the operator, once: every failed check, or the one thing that is wrong.
pub(crate) fn log(refused: &BootError) {
    if let BootError::Judged(error) = refused {
        error.log_checks();
    }
    error!(exit = refused.exit() as u8, reason = %refused, "not starting");
}

/// Why the unix sockets cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// An operation on a path failed.
    #[error("run_dir: cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// Not a folder that only its owner may change.
    #[error("run_dir: {} must be a folder that neither group nor others may write to; run `chmod go-w` on it", .0.display())]
    Open(PathBuf),
    /// The folder is another user's.
    #[error("run_dir: {} belongs to uid {owner}; it must be attestation-svc's own or root's", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another attestation-svc serves there.
    #[error("run_dir: another attestation-svc uses {}; stop it first", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket has the socket's name.
    #[error("run_dir: {} is not a socket; move it away", .0.display())]
    NotASocket(PathBuf),
}
