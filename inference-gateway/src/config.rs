//! `inference-gateway.toml`. Every problem of it is reported at once; nothing about
//! trust has a default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use mtls::CallerId;
use service_runtime::{
    Common, ConfigError, Configuration, ConnectionLimits, MeasuredConfig, Observability, Settings,
    load_config,
};
use snp_evidence::Policy;

use crate::{
    callers::{AdmissionLimits, CaFile, KeyFile},
    chat::AnswerLimits,
};

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
    /// Whether unknown parameters are refused where requests are passed on.
    pub strict: bool,
    /// For the first lease.
    pub start_timeout: Duration,
    /// Bounds on connections.
    pub connections: ConnectionLimits,
    /// Bounds on requests and answers.
    pub answers: AnswerLimits,
    /// Bounds on the work of all callers.
    pub admission: AdmissionLimits,
    /// What operators are told, and where.
    pub observability: Observability,
}

/// Who may ask for inference.
#[derive(Debug, Clone)]
pub enum Access {
    /// Whoever can reach the port. Stands only where the file says so in words.
    Anonymous,
    /// Whoever this file lists, by key; or by certificate, where there is a file of CAs.
    Listed(KeyFile, Option<CaFile>),
}

impl Config {
    /// Reads and checks the file at `path`, and the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        load_config(path)
    }
}

impl Configuration for Config {
    fn read(settings: &mut Settings) -> Option<Self> {
        let listen = |settings: &mut Settings| {
            settings.address(
                "listen",
                "Public TLS port, for gRPC and HTTP; bound with the first lease and not before.",
            )
        };
        let common = Common::read(settings, listen, Policy::parse);
        let attestation_svc = settings
            .loopback("attestation_svc", "Where attestation-svc answers: `listen` of its configuration.");
        let adapter =
            settings.loopback("adapter", "Where backend-adapter answers: `listen` of its configuration.");
        let access = settings.parsed(
            "access",
            "Who may ask for inference: whoever the file `keys` lists, by key or by certificate; or whoever reaches the port, which has to be \
             said in this word.",
            "api-keys, anonymous",
            with_keys,
        );
        let keys = settings.optional_path(
            "keys",
            "The file of keys, with `access = \"api-keys\"`; read again within five seconds of a change. `cube key new` makes \
             an entry.",
        );
        let cas = caller_cas(settings, common.as_ref().map(|common| common.measured.trust_domain.as_str()));
        let access = access.and_then(|with_keys| settings.checked("keys", read_access(with_keys, keys, cas)));
        let strict = settings.parsed_or(
            "unknown_parameters",
            "Of requests in the model server's own dialect: `pass` them on, and name them in the answer's header \
             `cube-unrecognised`; or `refuse` them by name.",
            "pass, refuse",
            "pass",
            is_strict,
        );
        let start_timeout = settings.start_timeout();
        let connections = settings.connection_limits(&ConnectionLimits::default());
        let answers = answer_limits(settings);
        let admission = admission_limits(settings);
        let Common { measured, policy, run_dir, listen, observability } = common?;
        Some(Self {
            measured,
            policy,
            run_dir,
            listen,
            attestation_svc: attestation_svc?,
            adapter: adapter?,
            access: access?,
            strict: strict?,
            start_timeout,
            connections,
            answers,
            admission,
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

fn is_strict(text: &str) -> Result<bool, &'static str> {
    match text {
        "pass" => Ok(false),
        "refuse" => Ok(true),
        _ => Err("need pass or refuse"),
    }
}

fn with_keys(text: &str) -> Result<bool, &'static str> {
    match text {
        "anonymous" => Ok(false),
        "api-keys" => Ok(true),
        _ => Err("need api-keys; or anonymous, to serve without credentials"),
    }
}

fn read_access(with_keys: bool, file: Option<PathBuf>, cas: Option<CaFile>) -> Result<Access, String> {
    let nothing = |key: &str| Err(format!("{key} would count for nothing with access = \"anonymous\""));
    match (with_keys, file) {
        (true, Some(path)) => {
            let keys = KeyFile::read(&path, cas.as_ref().map(CaFile::trust_domain))?;
            Ok(Access::Listed(keys, cas))
        }
        (true, None) => Err("access = \"api-keys\" needs the file of keys".to_owned()),
        (false, Some(_)) => nothing("keys"),
        (false, None) if cas.is_some() => nothing("callers.ca"),
        (false, None) => Ok(Access::Anonymous),
    }
}

/// Both keys or neither. `own` is the trust domain of Cube's own services, which no other CA may speak for.
fn caller_cas(settings: &mut Settings, own: Option<&str>) -> Option<CaFile> {
    let domain = settings.optional(
        "callers.trust_domain",
        "SPIFFE trust domain of callers that show a client certificate (X.509-SVID); another than that of the measured \
         configuration.",
        "a-z 0-9 - . _",
        |text| trust_domain(text, own),
    );
    let ca = settings.optional_path(
        "callers.ca",
        "The CAs of that trust domain, as PEM; read again within five seconds of a change. Which callers may ask is said by \
         `spiffe_id` in the file `keys`.",
    );
    match (domain, ca) {
        (Some(domain), Some(path)) => settings.checked("callers.ca", CaFile::read(domain, &path)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            settings.checked("callers", Err("needs both trust_domain and ca".to_owned()))
        }
    }
}

fn trust_domain(text: &str, own: Option<&str>) -> Result<String, String> {
    let id = format!("spiffe://{text}/caller").parse::<CallerId>();
    if !id.is_ok_and(|id| id.trust_domain() == text) {
        return Err(format!("{text:?} is no trust domain: 1 to 255 of a-z, 0-9, '-', '.', '_'"));
    }
    if own == Some(text) {
        return Err("is the trust domain of Cube's own services; callers need one of their own".to_owned());
    }
    Ok(text.to_owned())
}

fn admission_limits(settings: &mut Settings) -> AdmissionLimits {
    let own = AdmissionLimits::default();
    AdmissionLimits {
        concurrent: settings.count(
            "limits.concurrent",
            "Requests to the model server at once, of all callers.",
            own.concurrent,
        ),
        queue: settings.count(
            "limits.queue",
            "Requests that wait for others to end; one more is refused.",
            own.queue,
        ),
        patience: settings.seconds(
            "limits.queue_seconds",
            "Longest such wait; a caller's own deadline may end it sooner.",
            own.patience,
        ),
    }
}

fn answer_limits(settings: &mut Settings) -> AnswerLimits {
    let own = AnswerLimits::default();
    let body = settings.bytes(
        "limits.body_bytes",
        "Size of a request's body, and of an answer that is given as a whole.",
        1,
        own.body,
    );
    AnswerLimits {
        body,
        // Whoever allows larger requests means to take at least one.
        bodies: settings.bytes(
            "limits.bodies_bytes",
            "Sum of all requests that wait for the head of their answer: from `limits.body_bytes` on, which the default \
             follows.",
            body,
            own.bodies.max(body),
        ),
        frame: settings.bytes("limits.frame_bytes", "Size of one event of an answer; not less than `limits.frame_bytes` of the adapter.", 1, own.frame),
        first_token: settings.seconds(
            "limits.first_token_seconds",
            "From a request to the first output of the model; loading it and reading the prompt are part of that.",
            own.first_token,
        ),
        stream_idle: settings.seconds(
            "limits.stream_idle_seconds",
            "Between two events of an answer once there was output.",
            own.stream_idle,
        ),
        unary: settings.seconds(
            "limits.unary_seconds",
            "For an answer that is given as a whole, and for a request's body to arrive.",
            own.unary,
        ),
        evidence: settings.seconds(
            "limits.evidence_seconds",
            "For a report or key manifest that a client asks for.",
            own.evidence,
        ),
    }
}

#[cfg(test)]
mod tests;
