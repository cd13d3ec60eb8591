//! What operators are told of a service, and where: logs, traces, metrics, health.

use std::net::SocketAddr;

use http::{Uri, uri::Scheme};
use rustls_pki_types::CertificateDer;

use super::Settings;
use crate::{
    https::{ca_certificates, server_uri},
    telemetry::log_filter,
};

/// `log.*`, `traces.*`, `metrics.*` and `health.*`.
#[derive(Debug, Clone)]
pub struct Observability {
    /// `log.level`: filter for the logs, such as `info`.
    pub log_level: String,
    /// `traces.*`: where spans go; nowhere unless it is said.
    pub traces: Option<Traces>,
    /// `metrics.listen`: plaintext port of the metrics, where there is to be one.
    pub metrics: Option<SocketAddr>,
    /// `health.listen`: plaintext port of liveness and readiness, where there is to be one.
    pub health: Option<SocketAddr>,
}

/// Where spans go.
#[derive(Debug, Clone)]
pub struct Traces {
    /// `traces.otlp_endpoint`: an OTLP/HTTP collector, such as `https://collector:4318/v1/traces`.
    pub endpoint: Uri,
    /// `traces.otlp_ca`: whom the collector's certificate has to chain to. Empty for plain HTTP.
    pub ca: Vec<CertificateDer<'static>>,
    /// `traces.per_mille`: how many of a thousand traces are kept.
    pub per_mille: u32,
}

impl Observability {
    pub(super) fn read(settings: &mut Settings) -> Option<Self> {
        let log_level = settings.parsed_or(
            "log.level",
            "How much is logged to stderr: one level, or a level per module.",
            "a filter such as info or warn,health_gate=debug",
            "info",
            |level| log_filter(level).map(|_| level.to_owned()),
        );
        let metrics = settings.optional_address(
            "metrics.listen",
            "Plaintext port of `GET /metrics`; whoever reaches it sees how much traffic there is.",
        );
        let health = settings.optional_address(
            "health.listen",
            "Plaintext port of `/livez`, `/readyz` and gRPC health, for probes that cannot speak TLS.",
        );
        let traces = Traces::read(settings);
        Some(Self { log_level: log_level?, traces, metrics, health })
    }
}

impl Traces {
    fn read(settings: &mut Settings) -> Option<Self> {
        let endpoint = settings.optional(
            "traces.otlp_endpoint",
            "OTLP/HTTP collector that spans are sent to; none are made without it.",
            "https://HOST:PORT/v1/traces, or http:// on loopback",
            endpoint,
        );
        let ca = settings.optional_file(
            "traces.otlp_ca",
            "CA that an https collector's certificate has to chain to, as PEM.",
            ca_certificates,
        );
        let per_mille =
            settings.number_or("traces.per_mille", "How many of a thousand traces are kept.", 1000, 1..=1000);
        let tls = endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == Some(&Scheme::HTTPS));
        settings.problems.require(tls == ca.is_some(), || {
            "traces.otlp_ca: needed with an https endpoint, and only there".to_owned()
        });
        Some(Self { endpoint: endpoint?, ca: ca.unwrap_or_default(), per_mille })
    }
}

/// Spans hold no content, but tell of traffic: they leave the machine over TLS only.
fn endpoint(text: &str) -> Result<Uri, String> {
    let mistake = || format!("{text:?} is neither https://HOST:PORT/v1/traces nor http:// on loopback");
    server_uri(text).ok_or_else(mistake)
}
