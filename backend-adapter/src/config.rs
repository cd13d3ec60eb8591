//! `backend-adapter.toml`. Every problem of it is reported at once; nothing about trust has a default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use service_runtime::{
    Common, ConfigError, Configuration, ConnectionLimits, MeasuredConfig, Observability, Settings,
    load_config,
};
use snp_evidence::Policy;

use crate::model_server::AnswerLimits;

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
    /// Bounds on requests and answers.
    pub answers: AnswerLimits,
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
        let listen =
            |settings: &mut Settings| settings.loopback("listen", "Mutual TLS port, for inference-gateway.");
        let common = Common::read(settings, listen, Policy::parse);
        let start_timeout = settings.start_timeout();
        let connections = settings.connection_limits(&ConnectionLimits::default());
        let answers = answer_limits(settings);
        let Common { measured, policy, run_dir, listen, observability } = common?;
        Some(Self { measured, policy, run_dir, listen, start_timeout, connections, answers, observability })
    }

    fn measured(&self) -> &MeasuredConfig {
        &self.measured
    }

    fn observability(&self) -> &Observability {
        &self.observability
    }
}

fn answer_limits(settings: &mut Settings) -> AnswerLimits {
    let own = AnswerLimits::default();
    AnswerLimits {
        connect: settings.seconds(
            "limits.backend_connect_seconds",
            "For the connection to the model server.",
            own.connect,
        ),
        first_token: settings.seconds(
            "limits.first_token_seconds",
            "From a request to the first output of the model; loading it and reading the prompt are part of that.",
            own.first_token,
        ),
        stream_idle: settings.seconds(
            "limits.stream_idle_seconds",
            "Between two frames of the model server once there was output; its keep-alives do not count.",
            own.stream_idle,
        ),
        unary: settings.seconds(
            "limits.unary_seconds",
            "For the whole of a relayed answer that is not streamed; not less than there is in the gateway.",
            own.unary,
        ),
        answer: settings.seconds(
            "limits.backend_answer_seconds",
            "For a short answer of the model server as a whole: the list of its models, the body of a refusal.",
            own.answer,
        ),
        body: settings.bytes(
            "limits.body_bytes",
            "Size of a request from inference-gateway: not less than `limits.body_bytes` there.",
            1,
            own.body,
        ),
        frame: settings.bytes(
            "limits.frame_bytes",
            "Size of one frame of the model server's answer, and of the list of its models.",
            1,
            own.frame,
        ),
    }
}

#[cfg(test)]
mod tests;
