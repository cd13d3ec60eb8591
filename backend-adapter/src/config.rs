//! `backend-adapter.toml`. Every problem of it is reported at once; nothing about trust has a default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use service_runtime::{
    Common, ConfigError, Configuration, Limits as ConnectionLimits, MeasuredConfig, Observability, Settings,
    load_config,
};
use snp_evidence::Policy;

use crate::generate::Limits;

/// What the adapter runs with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The measured configuration; the model server's kind and address are in it.
    pub measured: MeasuredConfig,
    /// What the evidence must satisfy; its digest is in the measured configuration.
    pub policy: Policy,
    /// Folder of the enrolment sockets.
    pub run_dir: PathBuf,
    /// The mTLS port, on loopback.
    pub listen: SocketAddr,
    /// For the first lease.
    pub start_timeout: Duration,
    /// Bounds on connections.
    pub connections: ConnectionLimits,
    /// Bounds on the model server's silence.
    pub silence: Limits,
    /// What operators are told, and where.
    pub observability: Observability,
}

impl Config {
    /// Reads and checks the file at `path`, and the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        load_config(path)
    }
}

impl Configuration for Config {
    fn read(settings: &mut Settings) -> Option<Self> {
        let common = Common::read(settings, Settings::loopback, Policy::parse);
        let (start_timeout, connections) = (settings.start_timeout(), settings.connection_limits());
        let silence = silence(settings);
        let Common { measured, policy, run_dir, listen, observability } = common?;
        Some(Self { measured, policy, run_dir, listen, start_timeout, connections, silence, observability })
    }

    fn measured(&self) -> &MeasuredConfig {
        &self.measured
    }

    fn observability(&self) -> &Observability {
        &self.observability
    }
}

fn silence(settings: &mut Settings) -> Limits {
    let own = Limits::default();
    Limits {
        connect: settings.seconds("limits.backend_connect_seconds", own.connect),
        first_token: settings.seconds("limits.first_token_seconds", own.first_token),
        stream_idle: settings.seconds("limits.stream_idle_seconds", own.stream_idle),
        answer: settings.seconds("limits.backend_answer_seconds", own.answer),
    }
}

#[cfg(test)]
mod tests;
