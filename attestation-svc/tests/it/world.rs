//! A simulated machine, the files of a deployment on it, and the service running there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use attestation_svc::{Config, run};
use aws_lc_rs::digest::{SHA256, SHA384, digest};
use nix::unistd::geteuid;
use service_runtime::{CancellationToken, Exit, ManualClock};
use snp_evidence::{Endorsements, Evidence, EvidenceFormat, Policy, TrustRoots, Vek};
use snp_platform::{Platform, PlatformError};
use snp_simulator::{ChipSpec, Guest, Product, SecureProcessor, SimulatedRoot, Tcb};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const NOW: i64 = 1_767_225_600;
pub(crate) const MEASUREMENT: [u8; 48] = [0xab; 48];
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Made once: RSA-4096 keys take seconds.
fn machine() -> &'static (SimulatedRoot, Arc<SecureProcessor>) {
    static MACHINE: OnceLock<(SimulatedRoot, Arc<SecureProcessor>)> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let root = SimulatedRoot::generate(Product::Genoa, NOW).unwrap();
        let chip = ChipSpec::random(Product::Genoa).unwrap();
        let processor = root.make_processor(&chip).unwrap();
        (root, Arc::new(processor))
    })
}

pub(crate) fn roots() -> TrustRoots {
    TrustRoots::simulated(machine().0.root_pem().as_bytes()).unwrap()
}

/// The processor that every device here has.
pub(crate) fn processor() -> &'static SecureProcessor {
    &machine().1
}

/// The same processor after a firmware update.
pub(crate) fn updated(tcb: Tcb) -> Arc<SecureProcessor> {
    let (root, processor) = machine();
    Arc::new(root.make_processor(&ChipSpec { tcb, ..processor.chip().clone() }).unwrap())
}

/// A revocation list that names nobody and lasts for `seconds`.
pub(crate) fn list(seconds: i64) -> Vec<u8> {
    machine().0.crl(&[], NOW - 60, NOW + seconds).unwrap()
}

/// Another processor and guest, once there are.
type Became = Arc<Mutex<Option<(Arc<SecureProcessor>, Guest)>>>;

/// The simulated processor as a device, with faults on demand.
#[derive(Clone)]
pub(crate) struct Device {
    processor: Arc<SecureProcessor>,
    pub(crate) guest: Guest,
    pub(crate) format: EvidenceFormat,
    pub(crate) with_vcek: bool,
    pub(crate) absent: Arc<AtomicBool>,
    /// What every request is refused with.
    pub(crate) fault: Option<fn() -> PlatformError>,
    /// That a report was asked for.
    pub(crate) called: Arc<Notify>,
    hold: Arc<Mutex<Option<Receiver<()>>>>,
    /// What the machine has become meanwhile, whose certificates the host offers as before.
    pub(crate) became: Became,
}

impl Device {
    /// From now on it is another guest on the same processor, or that of before.
    pub(crate) fn becomes(&self, guest: Option<Guest>) {
        *self.became.lock().unwrap() = guest.map(|guest| (Arc::clone(&self.processor), guest));
    }

    /// From now on no report is made until the answer is dropped.
    pub(crate) fn hold(&self) -> Sender<()> {
        let (held, hold) = channel();
        *self.hold.lock().unwrap() = Some(hold);
        held
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Device")
    }
}

impl Platform for Device {
    fn format(&self) -> EvidenceFormat {
        self.format
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        self.called.notify_one();
        if let Some(hold) = &*self.hold.lock().unwrap() {
            hold.recv().unwrap_err();
        }
        if self.absent.load(Ordering::SeqCst) {
            return Err(PlatformError::Absent { place: "/dev/none".to_owned() });
        }
        if let Some(fault) = self.fault {
            return Err(fault());
        }
        let processor = &self.processor;
        let endorsements = Endorsements {
            vek: self.with_vcek.then(|| Vek::Vcek(processor.vek_der().to_vec())),
            ask: Some(processor.ask_der().to_vec()),
            ark: Some(processor.ark_der().to_vec()),
            ..Endorsements::default()
        };
        let became = self.became.lock().unwrap().clone();
        let (processor, guest) = became.unwrap_or_else(|| (Arc::clone(processor), self.guest.clone()));
        let report = processor.report(&guest, report_data).unwrap();
        Ok(Evidence { format: self.format, report, endorsements })
    }
}

/// A deployment that would boot; tests spoil one part of it.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) device: Device,
    pub(crate) roots: TrustRoots,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::for_uid(geteuid().as_raw())
    }

    /// Both identities belong to `uid`.
    pub(crate) fn for_uid(uid: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = snp_simulator::policy(&MEASUREMENT);
        let measured = format!(
            "trust_domain = \"demo.cube.internal\"\ntenant = \"demo\"\npolicy_sha256 = \"{}\"\n\
             [identity.gateway]\nuid = {uid}\n[identity.adapter]\nuid = {uid}\n\
             [backend]\nkind = \"openai\"\naddress = \"http://127.0.0.1:8080\"\nuid = 3\n\
             [public]\nnames = [\"localhost\", \"127.0.0.1\"]\n",
            hex::encode(sha256(policy.as_bytes()))
        );
        let service = "measured = \"measured.toml\"\npolicy = \"policy.toml\"\nrun_dir = \"run\"\n\
                       listen = \"127.0.0.1:8444\"\naudit.dir = \"audit\"\n[log]\nlevel = \"info\"\n";
        for (name, text) in [("policy", &policy), ("measured", &measured), ("service", &service.to_owned())] {
            fs::write(folder.path().join(name).with_extension("toml"), text).unwrap();
        }
        let guest =
            Guest { measurement: MEASUREMENT, host_data: sha256(measured.as_bytes()), ..Guest::default() };
        let device = Device {
            processor: Arc::clone(&machine().1),
            guest,
            format: EvidenceFormat::SimulatedAmdSevSnp,
            with_vcek: true,
            absent: Arc::default(),
            fault: None,
            called: Arc::default(),
            hold: Arc::default(),
            became: Arc::default(),
        };
        Self { folder, device, roots: roots(), clock: Arc::new(ManualClock::new(NOW)) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from} is not in {name}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// From now on the policy refuses evidence without a revocation list.
    pub(crate) fn require_list(&mut self) {
        let old = hex::encode(self.policy().sha256());
        self.edit("policy.toml", "crl = { off = \"test\" }", "crl = \"require\"");
        self.edit("measured.toml", &old, &hex::encode(self.policy().sha256()));
        self.device.guest.host_data = sha256(&fs::read(self.path("measured.toml")).unwrap());
    }

    /// From now on gateway and adapter have to be processes of these units.
    pub(crate) fn name_units(&mut self, [gateway, adapter]: [&str; 2]) {
        for (role, unit) in [("gateway", gateway), ("adapter", adapter)] {
            let section = format!("[identity.{role}]\n");
            self.edit("measured.toml", &section, &format!("{section}unit = \"{unit}\"\n"));
        }
        self.device.guest.host_data = sha256(&fs::read(self.path("measured.toml")).unwrap());
    }

    pub(crate) fn config(&self) -> Config {
        Config::load(&self.path("service.toml")).unwrap()
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::parse(&fs::read(self.path("policy.toml")).unwrap()).unwrap()
    }

    pub(crate) fn socket(&self, role: &str) -> PathBuf {
        self.path("run").join(format!("enrol-{role}.sock"))
    }

    pub(crate) fn run_dir(&self, mode: u32) -> PathBuf {
        let path = self.path("run");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Starts the service, which is expected to end by itself.
    pub(crate) async fn exit(&self) -> Exit {
        self.exit_of(self.config(), CancellationToken::new()).await
    }

    /// The same with a configuration of its own, and a way to stop it.
    pub(crate) async fn exit_of(&self, config: Config, shutdown: CancellationToken) -> Exit {
        let running = self.run(config, || TcpListener::bind("127.0.0.1:0"), shutdown);
        timeout(PATIENCE, running).await.unwrap().unwrap()
    }

    /// Starts the service and waits until it listens.
    pub(crate) async fn start(&self) -> Service {
        self.start_with(self.config()).await
    }

    /// The same with a configuration of its own.
    pub(crate) async fn start_with(&self, config: Config) -> Service {
        let (bound, address) = oneshot::channel();
        let bind = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            bound.send(listener.local_addr()?).unwrap();
            Ok(listener)
        };
        let shutdown = CancellationToken::new();
        let running = self.run(config, bind, shutdown.clone());
        let address = timeout(PATIENCE, address).await.unwrap();
        Service { address: address.unwrap(), shutdown, running }
    }

    fn run<F>(
        &self,
        mut config: Config,
        bind: impl FnOnce() -> F + Send + 'static,
        shutdown: CancellationToken,
    ) -> JoinHandle<Exit>
    where
        F: Future<Output = io::Result<TcpListener>> + Send + 'static,
    {
        let (device, roots) = (Box::new(self.device.clone()), self.roots.clone());
        // No test waits for a second.
        config.reports.every = Duration::from_millis(1);
        tokio::spawn(run(config, device, roots, bind, self.clock.clone(), shutdown))
    }
}

/// The running service.
pub(crate) struct Service {
    pub(crate) address: std::net::SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<Exit>,
}

impl Service {
    pub(crate) async fn stop(self) -> Exit {
        self.shutdown.cancel();
        timeout(PATIENCE, self.running).await.unwrap().unwrap()
    }
}

pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    digest(&SHA384, bytes).as_ref().try_into().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}
