//! The configuration: operational file → measured configuration and policy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use service_runtime::{
    Common, ConfigError, Configuration, MeasuredConfig, Observability, Settings, load_config,
};
use snp_evidence::Policy;

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
    /// Where evidence is served to the gateway, over mutual TLS.
    pub listen: SocketAddr,
    /// Folder of AMD's certificates, where the host's table lacks them.
    pub collateral: Option<PathBuf>,
    /// What operators are told, and where.
    pub observability: Observability,
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
        let common = Common::read(settings, Settings::loopback, Policy::parse);
        let collateral = settings.optional_path("collateral.directory");
        let Common { measured, policy, run_dir, listen, observability } = common?;
        Some(Self { measured, policy, run_dir, listen, collateral, observability })
    }

    fn measured(&self) -> &MeasuredConfig {
        &self.measured
    }

    fn observability(&self) -> &Observability {
        &self.observability
    }
}
