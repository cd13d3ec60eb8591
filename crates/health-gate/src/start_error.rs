//! Why a service does not begin to serve.

use std::{path::PathBuf, time::Duration};

use mtls::KeyError;
use service_runtime::Exit;

use crate::enrol::EnrolError;

/// Why a service never began to serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The evidence, or what it should vouch for, is refused.
    #[error("{0}")]
    Refused(EnrolError),
    /// No lease in time.
    #[error("no lease from {} within {limit:?}: {last}", socket.display())]
    NoLease {
        /// The enrolment socket.
        socket: PathBuf,
        /// The `start_timeout`.
        limit: Duration,
        /// The last failure.
        last: EnrolError,
    },
    /// No key could be made.
    #[error("cannot enrol: {0}")]
    Key(#[from] KeyError),
    /// It was asked to stop before it had a lease.
    #[error("stopped before the first lease")]
    Stopped,
}

impl StartError {
    /// What the service ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(cause) => cause.exit().unwrap_or(Exit::Evidence),
            Self::NoLease { .. } | Self::Key(_) => Exit::NoLease,
            Self::Stopped => Exit::Clean,
        }
    }
}
