//! Where one run keeps its files.

use std::path::{Path, PathBuf};

/// One of the three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// attestation-svc.
    Attestation,
    /// inference-gateway.
    Gateway,
    /// backend-adapter.
    Adapter,
}

impl Service {
    /// In the order in which an operator would start them.
    pub const ALL: [Self; 3] = [Self::Attestation, Self::Gateway, Self::Adapter];

    /// Name of the shipped service.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attestation => "attestation-svc",
            Self::Gateway => "inference-gateway",
            Self::Adapter => "backend-adapter",
        }
    }
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Names files below `folder`; creates nothing.
    pub fn below(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sockets of this run (`run_dir`).
    pub fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The simulated machine: its private key and certificates. Mode 0600.
    pub fn machine(&self) -> PathBuf {
        self.folder.join("machine.json")
    }

    /// The simulated guest: measurement, HOST_DATA and the rest.
    pub fn guest(&self) -> PathBuf {
        self.folder.join("guest.json")
    }

    /// ARK, ASK and ASVK of the simulated machine.
    pub fn root(&self) -> PathBuf {
        self.folder.join("simulated-root.pem")
    }

    /// What the operator keeps for attestation-svc: the revocation list.
    pub fn collateral(&self) -> PathBuf {
        self.folder.join("collateral")
    }

    /// The policy inside the CVM.
    pub fn policy(&self) -> PathBuf {
        self.folder.join("policy.toml")
    }

    /// The policy of a relying party: it pins HOST_DATA too.
    pub fn client_policy(&self) -> PathBuf {
        self.folder.join("client-policy.toml")
    }

    /// The measured configuration.
    pub fn measured(&self) -> PathBuf {
        self.folder.join("measured.toml")
    }

    /// A service's own configuration.
    pub fn config(&self, service: Service) -> PathBuf {
        self.folder.join(format!("{}.toml", service.name()))
    }

    /// What a service wrote to stderr.
    pub fn log(&self, service: Service) -> PathBuf {
        self.folder.join(format!("{}.log", service.name()))
    }

    /// The CVM's CA as shown on the public listener, for stock clients; `cube verify` vouches for it.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }
}
