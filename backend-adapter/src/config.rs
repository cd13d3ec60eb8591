//! `backend-adapter.toml`. Every problem of it is reported at once; nothing about trust has a default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use service_runtime::{
    ConfigError, Limits as ConnectionLimits, MeasuredConfig, Problems, read_config_file, resolve,
};
use snp_evidence::Policy;

use crate::generate::Limits;

mod table;

use table::Table;

/// What the adapter runs with.
#[derive(Debug, Clone)]
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
    /// Filter for the logs, such as `info`.
    pub log_level: String,
}

impl Config {
    /// Reads and checks the file at `path`, and the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read_config_file(path)?;
        let mut problems = Problems::default();
        let text = problems.take("encoding", std::str::from_utf8(&bytes));
        let parsed = text.and_then(|text| problems.take("TOML", text.parse()));
        let Some(parsed) = parsed else {
            return Err(ConfigError::Content { path: path.to_owned(), problems });
        };
        let mut table = Table::new(parsed);
        let config = Self::read(path, &mut table);
        table.finish().into_result(path)?;
        // What is missing has left a problem behind.
        config.ok_or_else(|| ConfigError::File { path: path.to_owned(), problem: "is incomplete".to_owned() })
    }

    /// Reads every key before it gives up on any.
    fn read(path: &Path, table: &mut Table) -> Option<Self> {
        let measured = table.parsed("measured", |file| load_measured(&resolve(path, Path::new(file))));
        let policy = table.parsed("policy", |file| load_policy(&resolve(path, Path::new(file))));
        if let (Some(measured), Some(policy)) = (&measured, &policy) {
            table.problems.require(measured.policy_sha256 == policy.sha256(), || {
                "policy: its SHA-256 is not the measured policy_sha256; use the policy that was measured"
                    .into()
            });
        }
        let run_dir = table.parsed("run_dir", |folder| Ok(resolve(path, Path::new(folder))));
        let listen = table.parsed("listen", loopback);
        let start_timeout = table.seconds("start_timeout_seconds", Duration::from_mins(1));
        let (connections, silence) = (connections(table), silence(table));
        let log_level = table.text("log.level").unwrap_or_else(|| "info".to_owned());
        Some(Self {
            measured: measured?,
            policy: policy?,
            run_dir: run_dir?,
            listen: listen?,
            start_timeout,
            connections,
            silence,
            log_level,
        })
    }

    /// What `--check-config` prints: which keys are measured, with their digest, and which are not.
    pub fn summary(&self) -> String {
        let (measured, policy) = (hex::encode(self.measured.sha256()), hex::encode(self.policy.sha256()));
        format!(
            "measured     trust_domain, tenant, policy_sha256, identity.*, backend.*, public.*\n\
             measured     SHA-256 {measured} (the HOST_DATA to expect)\n\
             policy       SHA-256 {policy}, as measured\n\
             operational  run_dir, listen, start_timeout_seconds, limits.*, log.*\n"
        )
    }
}

fn load_measured(path: &Path) -> Result<MeasuredConfig, String> {
    MeasuredConfig::load(path).map_err(|error| error.to_string())
}

fn load_policy(path: &Path) -> Result<Policy, String> {
    let bytes = read_config_file(path).map_err(|error| error.to_string())?;
    Policy::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The gateway is in the same CVM; nobody else has business here.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| format!("{text:?} is not ADDRESS:PORT"))?;
    if address.ip().is_loopback() { Ok(address) } else { Err(format!("{address} is not a loopback address")) }
}

fn connections(table: &mut Table) -> ConnectionLimits {
    let own = ConnectionLimits::default();
    ConnectionLimits {
        handshake: table.seconds("limits.handshake_seconds", own.handshake),
        headers: table.seconds("limits.headers_seconds", own.headers),
        keep_alive: table.seconds("limits.keep_alive_seconds", own.keep_alive),
        idle: table.seconds("limits.idle_seconds", own.idle),
        age: table.seconds("limits.age_seconds", own.age),
        streams: table.count("limits.streams", own.streams),
        connections: table.count("limits.connections", own.connections),
        drain: table.seconds("limits.drain_seconds", own.drain),
    }
}

fn silence(table: &mut Table) -> Limits {
    let own = Limits::default();
    Limits {
        connect: table.seconds("limits.backend_connect_seconds", own.connect),
        first_token: table.seconds("limits.first_token_seconds", own.first_token),
        stream_idle: table.seconds("limits.stream_idle_seconds", own.stream_idle),
        answer: table.seconds("limits.backend_answer_seconds", own.answer),
    }
}

#[cfg(test)]
mod tests;
