//! `inference-gateway.toml`. Every problem of it is reported at once; nothing about
//! trust has a default.

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

use crate::chat::Limits as AnswerLimits;

/// What the gateway runs with.
#[derive(Debug, Clone)]
#[non_exhaustive]
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
    /// What operators are told, and where.
    pub observability: Observability,
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
        load_config(path)
    }
}

impl Configuration for Config {
    fn read(settings: &mut Settings) -> Option<Self> {
        let common = Common::read(settings, Settings::address, Policy::parse);
        let (attestation_svc, adapter) = (settings.loopback("attestation_svc"), settings.loopback("adapter"));
        let access = settings.parsed("access", access);
        let (start_timeout, connections) = (settings.start_timeout(), settings.connection_limits());
        let answers = answer_limits(settings);
        let Common { measured, policy, run_dir, listen, observability } = common?;
        Some(Self {
            measured,
            policy,
            run_dir,
            listen,
            attestation_svc: attestation_svc?,
            adapter: adapter?,
            access: access?,
            start_timeout,
            connections,
            answers,
            observability,
        })
    }

    fn measured(&self) -> &MeasuredConfig {
        &self.measured
    }

    fn observability(&self) -> &Observability {
        &self.observability
    }
}

fn access(text: &str) -> Result<Access, &'static str> {
    match text {
        "anonymous" => Ok(Access::Anonymous),
        _ => Err("only \"anonymous\" exists in this version; write it to serve without credentials"),
    }
}

fn answer_limits(settings: &mut Settings) -> AnswerLimits {
    let own = AnswerLimits::default();
    let body = settings.count("limits.body_bytes", own.body);
    AnswerLimits {
        first_token: settings.seconds("limits.first_token_seconds", own.first_token),
        stream_idle: settings.seconds("limits.stream_idle_seconds", own.stream_idle),
        unary: settings.seconds("limits.unary_seconds", own.unary),
        body,
        // Whoever allows larger requests means to take at least one.
        bodies: settings.count("limits.bodies_bytes", own.bodies).max(body),
        frame: settings.count("limits.frame_bytes", own.frame),
    }
}

#[cfg(test)]
mod tests;
