//! The configuration: operational file → measured configuration and policy.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls_pki_types::ServerName;
use serde::Deserialize;
use service_runtime::{ConfigError, MeasuredConfig, Problems, load_config, read_config_file, resolve};
use snp_evidence::Policy;

/// Everything that `run` needs to know; checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What relying parties hold the CVM to; its digest is HOST_DATA.
    pub measured: MeasuredConfig,
    /// What the evidence has to satisfy.
    pub policy: Policy,
    /// Folder of the enrolment sockets.
    pub run_dir: PathBuf,
    /// Where evidence is served to the gateway, over mutual TLS.
    pub listen: SocketAddr,
    /// Folder of AMD's certificates, where the host's table lacks them.
    pub collateral: Option<PathBuf>,
    /// Tracing filter such as `info`.
    pub log_level: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    measured: PathBuf,
    policy: PathBuf,
    run_dir: PathBuf,
    listen: SocketAddr,
    collateral: Option<RawCollateral>,
    log: RawLog,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCollateral {
    directory: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    level: String,
}

impl Config {
    /// Reads the operational file at `path` and the two files that it names, relative to its folder.
    /// Reports every problem of all of them.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let raw: Raw = load_config(path)?;
        let mut problems = Problems::default();
        let measured = problems.take("measured", MeasuredConfig::load(&resolve(path, &raw.measured)));
        let policy = problems.take("policy", load_policy(&resolve(path, &raw.policy)));
        problems.require(raw.listen.ip().is_loopback(), || {
            format!("listen: {} is not loopback; only services of this CVM may connect", raw.listen)
        });
        for name in measured.iter().flat_map(|measured| &measured.public_names) {
            problems.require(ServerName::try_from(name.as_str()).is_ok(), || {
                format!("measured: public.names: {name:?} is neither a DNS name nor an IP address")
            });
        }
        let (Some(measured), Some(policy), true) = (measured, policy, problems.is_empty()) else {
            return Err(ConfigError::Content { path: path.to_owned(), problems });
        };
        Ok(Self {
            measured,
            policy,
            run_dir: resolve(path, &raw.run_dir),
            listen: raw.listen,
            collateral: raw.collateral.map(|collateral| resolve(path, &collateral.directory)),
            log_level: raw.log.level,
        })
    }

    /// The measured configuration must name the very policy that the evidence is judged by.
    pub fn check_policy_digest(&self) -> Result<(), PolicyMismatch> {
        let (named, used) = (self.measured.policy_sha256, self.policy.sha256());
        if named == used { Ok(()) } else { Err(PolicyMismatch { named, used }) }
    }

    /// What `--check-config` prints: who is bound by which key, and the digests.
    pub fn summary(&self) -> String {
        format!(
            "measured (relying parties see its digest): trust_domain, tenant, policy_sha256, identity, backend, public\n\
             operational (may change without them): run_dir, listen, collateral, log\n\
             HOST_DATA must be the SHA-256 of the measured configuration: {}\n\
             SHA-256 of the policy: {}",
            hex::encode(self.measured.sha256()),
            hex::encode(self.policy.sha256()),
        )
    }
}

fn load_policy(path: &Path) -> Result<Policy, String> {
    let bytes = read_config_file(path).map_err(|error| error.to_string())?;
    Policy::parse(&bytes).map_err(|errors| format!("{}: {errors}", path.display()))
}

/// The measured configuration names another policy than the one given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct PolicyMismatch {
    named: [u8; 32],
    used: [u8; 32],
}

impl fmt::Display for PolicyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, named) = (hex::encode(self.used), hex::encode(self.named));
        write!(
            f,
            "check policy.digest failed: observed policy {used}, expected {named}; give the policy file that \
             the measured configuration names in policy_sha256, or measure anew"
        )
    }
}
