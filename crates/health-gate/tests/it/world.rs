//! A simulated machine, a deployment on it, and holders that enrol there.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use health_gate::{Gate, Holder, HolderConfig, StartError, start};
use mtls::Role;
use service_runtime::{CancellationToken, ManualClock, MeasuredConfig, TaskTracker};
use snp_evidence::{Policy, TrustRoots};
use snp_simulator::{ChipSpec, Guest, Product, SecureProcessor, SimulatedRoot};
use tempfile::TempDir;
use tokio::time::timeout;

pub(crate) const NOW: i64 = 1_767_225_600;
pub(crate) const MEASUREMENT: [u8; 48] = [0xab; 48];
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Made once: RSA-4096 keys take seconds.
pub(crate) fn machine() -> &'static (String, SecureProcessor) {
    static MACHINE: OnceLock<(String, SecureProcessor)> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let root = SimulatedRoot::generate(Product::Genoa, NOW).unwrap();
        let processor = root.make_processor(&ChipSpec::random(Product::Genoa).unwrap()).unwrap();
        (root.root_pem(), processor)
    })
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tracker: TaskTracker,
    policy: String,
    measured: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let policy = snp_simulator::policy(&MEASUREMENT);
        let measured = format!(
            "trust_domain = \"demo.cube.internal\"\ntenant = \"demo\"\npolicy_sha256 = \"{}\"\n\
             [identity.gateway]\nuid = 1\n[identity.adapter]\nuid = 2\n\
             [backend]\nkind = \"openai\"\naddress = \"http://127.0.0.1:8080\"\nuid = 3\n\
             [public]\nnames = [\"localhost\"]\n",
            hex::encode(sha256(policy.as_bytes()))
        );
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(NOW)));
        Self { folder, clock, tracker: TaskTracker::new(), policy, measured }
    }

    pub(crate) fn run_dir(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::parse(self.policy.as_bytes()).unwrap()
    }

    pub(crate) fn measured(&self) -> MeasuredConfig {
        MeasuredConfig::parse(self.measured.as_bytes()).unwrap()
    }

    /// The guest as its honest host launches it.
    pub(crate) fn guest(&self) -> Guest {
        Guest { measurement: MEASUREMENT, host_data: *self.measured().sha256(), ..Guest::default() }
    }

    pub(crate) fn config(&self, role: Role) -> HolderConfig {
        HolderConfig {
            role,
            run_dir: self.run_dir().to_owned(),
            measured: self.measured(),
            policy: self.policy(),
            roots: TrustRoots::simulated(machine().0.as_bytes()).unwrap(),
            listeners: if role == Role::Gateway { vec!["gateway/public".to_owned()] } else { vec![] },
            callers: None,
            start_timeout: PATIENCE,
            drain: PATIENCE,
            clock: self.clock.clone(),
        }
    }

    pub(crate) async fn try_hold(&self, config: HolderConfig) -> Result<Holder, StartError> {
        start(config, CancellationToken::new(), &self.tracker).await
    }

    pub(crate) async fn hold(&self, role: Role) -> Holder {
        self.try_hold(self.config(role)).await.unwrap()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Waits for something that has to come; a hang is a failure.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it never came")
}

pub(crate) async fn until_open(gate: &Gate, open: bool) {
    soon(gate.watch().wait_for(|now| *now == open)).await.unwrap();
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}
