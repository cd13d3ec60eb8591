//! The configuration: operational file → measured configuration and policy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use service_runtime::{
    Common, ConfigError, Configuration, ConnectionLimits, MeasuredConfig, Observability, Settings,
    load_config,
};
use snp_evidence::Policy;

use crate::prover::ReportLimits;

/// A restart has to be quicker than the 15 s after which leases lapse, and leases end by themselves.
const DRAIN: Duration = Duration::from_secs(5);

/// Everything that `run` needs to know; checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What relying parties hold the CVM to; its digest is HOST_DATA.
    pub measured: MeasuredConfig,
    /// What the evidence has to satisfy; its digest is in the measured configuration.
    pub policy: Policy,
    /// Folder of the enrolment sockets.
    pub run_dir: PathBuf,
    /// Where and how much is recorded.
    pub audit: AuditConfig,
    /// Where evidence is served to the gateway, over mutual TLS.
    pub listen: SocketAddr,
    /// Where AMD's certificates and lists are looked for, where the host's table lacks them.
    pub collateral: collateral::Config,
    /// Bounds on reports.
    pub reports: ReportLimits,
    /// Bounds on connections.
    pub connections: ConnectionLimits,
    /// What operators are told, and where.
    pub observability: Observability,
}

/// The audit log.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// Bounds on its files.
    pub limits: audit_log::Limits,
}

impl Config {
    /// Reads the operational file at `path` and the two files that it names, relative to its folder.
    /// Reports every problem of all of them.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        load_config(path)
    }
}

impl Configuration for Config {
    fn read(settings: &mut Settings) -> Option<Self> {
        let listen = |settings: &mut Settings| {
            settings.loopback("listen", "Mutual TLS port for the gateway's evidence requests.")
        };
        let common = Common::read(settings, listen, Policy::parse);
        let audit = audit(settings);
        let collateral = collateral::Config::read(settings);
        let reports = reports(settings);
        let connections =
            settings.connection_limits(&ConnectionLimits { drain: DRAIN, ..ConnectionLimits::default() });
        let Common { measured, policy, run_dir, listen, observability } = common?;
        let audit = audit?;
        Some(Self {
            measured,
            policy,
            run_dir,
            audit,
            listen,
            collateral,
            reports,
            connections,
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

fn audit(settings: &mut Settings) -> Option<AuditConfig> {
    let own = audit_log::Limits::default();
    let folder = settings.path(
        "audit.dir",
        "Folder of the audit log, which only attestation-svc's user may enter; nothing is granted while it cannot be \
         written to.",
    );
    let segment_bytes = settings.number_or(
        "audit.segment_bytes",
        "Size from which a file of the audit log is followed by the next.",
        own.segment_bytes,
        65_536..=1_073_741_824,
    );
    let segments = settings.number_or(
        "audit.segments",
        "Files of the audit log that are kept; the oldest goes when one more is begun.",
        own.segments,
        2..=10_000,
    );
    Some(AuditConfig { folder: folder?, limits: audit_log::Limits { segment_bytes, segments } })
}

fn reports(settings: &mut Settings) -> ReportLimits {
    let own = ReportLimits::default();
    ReportLimits {
        boot: settings.seconds(
            "start_timeout_seconds",
            "For each of the two reports at boot, the wait for a busy secure processor included, fetching certificates not; \
             then exit code 5.",
            own.boot,
        ),
        call: settings.seconds(
            "limits.report_seconds",
            "For a report that a caller waits for, the wait for its turn included; enrolling services give up after 20 s.",
            own.call,
        ),
        waiting: settings.count(
            "limits.waiting_reports",
            "Evidence requests from outside that may wait for the next report; more get EVIDENCE_UNAVAILABLE.",
            own.waiting,
        ),
        every: Duration::from_secs(1) / settings.count(
            "limits.reports_per_second",
            "Reports that are made for the outside; each answers all who wait. A host may throttle more than one.",
            1_u32,
        ).max(1),
    }
}
