//! `inference-gateway.toml`. Every problem of it is reported at once; nothing about
//! trust has a default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use service_runtime::{
    ConfigError, Limits as ConnectionLimits, MeasuredConfig, Problems, read_config_file, resolve,
};
use snp_evidence::Policy;

use crate::chat::Limits as AnswerLimits;

mod keys;

use self::keys::Keys;

/// What the gateway runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The measured configuration.
    pub measured: MeasuredConfig,
    /// What the evidence must satisfy; its digest is in the measured configuration.
    pub policy: Policy,
    /// Folder of the enrolment sockets.
    pub run_dir: PathBuf,
    /// The public port.
    pub listen: SocketAddr,
    /// Where attestation-svc answers, on this machine.
    pub attestation_svc: SocketAddr,
    /// Where backend-adapter answers, on this machine.
    pub adapter: SocketAddr,
    /// Who may ask.
    pub access: Access,
    /// For the first lease.
    pub start_timeout: Duration,
    /// Bounds on connections.
    pub connections: ConnectionLimits,
    /// Bounds on requests and answers.
    pub answers: AnswerLimits,
    /// Filter for the logs, such as `info`.
    pub log_level: String,
}

/// Who may ask for inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever can reach the port. Stands only where the file says so in words.
    Anonymous,
}

impl Config {
    /// Reads and checks the file at `path`, and the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_config_file(path)?;
        let mut problems = Problems::default();
        let text = problems.take("encoding", std::str::from_utf8(&text));
        let table = text.and_then(|text| problems.take("TOML", text.parse::<toml::Table>()));
        let mut keys = Keys::new(table.unwrap_or_default(), problems);
        let config = Self::read(path, &mut keys);
        keys.finish().into_result(path)?;
        // `None` has left a problem behind, which `into_result` has returned.
        config.ok_or_else(|| ConfigError::File { path: path.to_owned(), problem: "is incomplete".into() })
    }

    /// Every key is read before any is missed.
    fn read(path: &Path, keys: &mut Keys) -> Option<Self> {
        let measured = keys.file("measured").map(|file| resolve(path, &file));
        let measured = measured.and_then(|file| keys.problems.take("measured", MeasuredConfig::load(&file)));
        let policy = keys.file("policy").map(|file| resolve(path, &file));
        let policy = policy.and_then(|file| keys.problems.take("policy", load_policy(&file)));
        check_digest(measured.as_ref(), policy.as_ref(), &mut keys.problems);
        let run_dir = keys.file("run_dir").map(|folder| resolve(path, &folder));
        let listen = keys.address("listen");
        let (attestation_svc, adapter) = (keys.loopback("attestation_svc"), keys.loopback("adapter"));
        let access = access(keys);
        let start_timeout = keys.seconds("start_timeout_seconds", Duration::from_mins(1));
        let (connections, answers) = (connection_limits(keys), answer_limits(keys));
        let log_level = keys.text_or("log.level", "info");
        Some(Self {
            measured: measured?,
            policy: policy?,
            run_dir: run_dir?,
            listen: listen?,
            attestation_svc: attestation_svc?,
            adapter: adapter?,
            access: access?,
            start_timeout,
            connections,
            answers,
            log_level,
        })
    }

    /// What `--check-config` prints: which keys are measured, with their digest, and which are not.
    pub fn summary(&self) -> String {
        let digest = hex::encode(self.measured.sha256());
        let policy = hex::encode(self.policy.sha256());
        format!(
            "measured     trust_domain, tenant, policy_sha256, identity.*, backend.*, public.*\n\
             measured     SHA-256 {digest} (the HOST_DATA to expect)\n\
             policy       SHA-256 {policy}, as measured\n\
             operational  run_dir, listen, attestation_svc, adapter, access, start_timeout_seconds, limits.*, log.*\n"
        )
    }
}

fn load_policy(path: &Path) -> Result<Policy, String> {
    let bytes = read_config_file(path).map_err(|error| error.to_string())?;
    Policy::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn check_digest(measured: Option<&MeasuredConfig>, policy: Option<&Policy>, problems: &mut Problems) {
    let (Some(measured), Some(policy)) = (measured, policy) else { return };
    problems.require(measured.policy_sha256 == policy.sha256(), || {
        let digest = hex::encode(policy.sha256());
        format!("policy: its SHA-256 is {digest}, which is not the measured policy_sha256; use the measured policy")
    });
}

fn access(keys: &mut Keys) -> Option<Access> {
    let anonymous = keys.text("access")? == "anonymous";
    keys.problems.require(anonymous, || {
        "access: only \"anonymous\" exists in this version; write it to serve without credentials".to_owned()
    });
    anonymous.then_some(Access::Anonymous)
}

fn connection_limits(keys: &mut Keys) -> ConnectionLimits {
    let own = ConnectionLimits::default();
    ConnectionLimits {
        handshake: keys.seconds("limits.handshake_seconds", own.handshake),
        headers: keys.seconds("limits.headers_seconds", own.headers),
        keep_alive: keys.seconds("limits.keep_alive_seconds", own.keep_alive),
        idle: keys.seconds("limits.idle_seconds", own.idle),
        age: keys.seconds("limits.age_seconds", own.age),
        streams: keys.count("limits.streams", own.streams),
        connections: keys.count("limits.connections", own.connections),
        drain: keys.seconds("limits.drain_seconds", own.drain),
    }
}

fn answer_limits(keys: &mut Keys) -> AnswerLimits {
    let own = AnswerLimits::default();
    AnswerLimits {
        first_token: keys.seconds("limits.first_token_seconds", own.first_token),
        stream_idle: keys.seconds("limits.stream_idle_seconds", own.stream_idle),
        unary: keys.seconds("limits.unary_seconds", own.unary),
        body: keys.count("limits.body_bytes", own.body),
        frame: keys.count("limits.frame_bytes", own.frame),
    }
}

#[cfg(test)]
mod tests;
