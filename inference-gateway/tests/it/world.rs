//! A deployment on a simulated machine: the real attestation-svc, a lease from it, and
//! the gateway's listener over scripted upstreams.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
    rand::SystemRandom,
};
use health_gate::{Holder, HolderConfig};
use inference_gateway::{Admission, AdmissionLimits, AnswerLimits, Callers, ChatMetrics, server};
use mtls::{CallerTrust, Role, ServiceKey};
use rustls_pki_types::CertificateDer;
use service_runtime::{
    BackendKind, CancellationToken, Clock, Incoming, ManualClock, MeasuredConfig, Observer, Registry, Server,
    ServerTls, SystemClock, TaskTracker,
};
use snp_evidence::{Endorsements, Evidence, EvidenceFormat, Policy, TrustRoots, Vek};
use snp_platform::{Platform, PlatformError};
use snp_simulator::{ChipSpec, Guest, Product, SecureProcessor, SimulatedRoot};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{fake::Fake, workloads::Workloads};

const MEASUREMENT: [u8; 48] = [0xC0; 48];

/// Made once: RSA-4096 keys take seconds.
fn machine() -> &'static (String, Arc<SecureProcessor>) {
    static MACHINE: OnceLock<(String, Arc<SecureProcessor>)> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let root = SimulatedRoot::generate(Product::Genoa, SystemClock.unix()).unwrap();
        let chip = ChipSpec::random(Product::Genoa).unwrap();
        (root.root_pem(), Arc::new(root.make_processor(&chip).unwrap()))
    })
}

#[derive(Debug)]
struct Simulated {
    processor: Arc<SecureProcessor>,
    guest: Guest,
}

impl Platform for Simulated {
    fn format(&self) -> EvidenceFormat {
        EvidenceFormat::SimulatedAmdSevSnp
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        let endorsements = Endorsements {
            vek: Some(Vek::Vcek(self.processor.vek_der().to_vec())),
            ask: Some(self.processor.ask_der().to_vec()),
            ark: Some(self.processor.ark_der().to_vec()),
            ..Endorsements::default()
        };
        let report = self.processor.report(&self.guest, report_data).unwrap();
        Ok(Evidence { format: self.format(), report, endorsements })
    }
}

/// The running deployment.
pub(crate) struct World {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    /// The listener's certificate, which vouches for itself here.
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) leaf_spki_sha256: [u8; 32],
    pub(crate) draining: CancellationToken,
    pub(crate) workloads: Workloads,
    holder: Holder,
    deployment: Deployment,
}

impl World {
    /// With the gate open.
    pub(crate) async fn open() -> Self {
        Self::with(AnswerLimits::default()).await
    }

    pub(crate) async fn with(limits: AnswerLimits) -> Self {
        Self::before(BackendKind::Ollama, limits, false, Callers::Anonymous).await
    }

    /// Before a model server that speaks OpenAI's dialect; `strict` towards what Cube does not know.
    pub(crate) async fn relaying(limits: AnswerLimits, strict: bool) -> Self {
        Self::before(BackendKind::Openai, limits, strict, Callers::Anonymous).await
    }

    /// Before one of `kind`, for these callers.
    pub(crate) async fn for_callers(kind: BackendKind, callers: Callers) -> Self {
        Self::before(kind, AnswerLimits::default(), false, callers).await
    }

    async fn before(kind: BackendKind, limits: AnswerLimits, strict: bool, callers: Callers) -> Self {
        mtls::install_crypto_provider();
        let deployment = Deployment::start().await;
        let holder = deployment.lease().await;
        let (fake, draining) = (Arc::new(Fake::default()), CancellationToken::new());
        let gateway = server::Gateway {
            backend: fake.clone(),
            kind,
            strict,
            callers,
            admission: Admission::new(AdmissionLimits::default()),
            salts: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).unwrap(),
            evidence: fake.clone(),
            gate: holder.gate(),
            clock: deployment.clock.clone(),
            limits,
            draining: draining.clone(),
            metrics: ChatMetrics::register(&mut Registry::default()),
        };
        let workloads = Workloads::new(deployment.clock.clone());
        let (tls, certificate) = public_tls(&workloads.trust);
        let leaf_spki_sha256 = tls.leaf_spki_sha256;
        let server = Server {
            router: server::router(gateway),
            tls: Some(Arc::new(move || Some(tls.clone()))),
            scope: server::scope(),
            limits: service_runtime::ConnectionLimits::default(),
            recycle: holder.epoch_changed(),
            observer: Observer::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(server.serve(Incoming::Tcp(listener), draining.clone()));
        Self { fake, address, certificate, leaf_spki_sha256, draining, workloads, holder, deployment }
    }

    /// Lets the deployment's clock go on.
    pub(crate) fn advance(&self, step: Duration) {
        self.deployment.clock.advance(step);
    }

    /// Ends the lease as a dead attestation-svc would: no more answers, and 15 s go by.
    pub(crate) async fn lapse(&self) {
        self.deployment.issuer.cancel();
        self.deployment.clock.advance(Duration::from_secs(16));
        self.holder.gate().lapsed().await;
    }
}

/// The machine, its files, and attestation-svc running there.
pub(crate) struct Deployment {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) roots: TrustRoots,
    pub(crate) policy: Policy,
    /// Where attestation-svc takes mutual TLS.
    pub(crate) internal: SocketAddr,
    /// Stops attestation-svc.
    pub(crate) issuer: CancellationToken,
    measured: MeasuredConfig,
}

impl Deployment {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(SystemClock.unix()));
        let issuer = CancellationToken::new();
        let (host_data, config) = files(folder.path());
        let config = attestation_svc::Config::load(&config).unwrap();
        let guest = Guest { measurement: MEASUREMENT, host_data, ..Guest::default() };
        let platform = Box::new(Simulated { processor: machine().1.clone(), guest });
        let roots = TrustRoots::simulated(machine().0.as_bytes()).unwrap();
        let (measured, policy) = (config.measured.clone(), config.policy.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let internal = listener.local_addr().unwrap();
        let bind = async || Ok(listener);
        let (roots_too, clock_too, stop) = (roots.clone(), clock.clone(), issuer.clone());
        tokio::spawn(attestation_svc::run(config, platform, roots_too, bind, clock_too, stop));
        Self { folder, clock, roots, policy, internal, issuer, measured }
    }

    async fn lease(&self) -> Holder {
        let holder = HolderConfig {
            role: Role::Gateway,
            run_dir: self.folder.path().join("run"),
            measured: self.measured.clone(),
            policy: self.policy.clone(),
            roots: self.roots.clone(),
            listeners: Vec::new(),
            callers: None,
            start_timeout: Duration::from_mins(1),
            drain: Duration::from_secs(30),
            clock: self.clock.clone(),
        };
        health_gate::start(holder, CancellationToken::new(), &TaskTracker::new()).await.unwrap()
    }
}

/// Writes the configuration; gives HOST_DATA and the path of attestation-svc's file.
fn files(folder: &Path) -> ([u8; 32], std::path::PathBuf) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let policy = snp_simulator::policy(&MEASUREMENT);
    let uid = nix::unistd::geteuid().as_raw().to_string();
    let measured = include_str!("../golden/measured.toml")
        .replace("POLICY", &hex::encode(sha256(policy.as_bytes())))
        .replace("1001", &uid)
        .replace("1002", &uid);
    write("policy.toml", &policy);
    write("measured.toml", &measured);
    let common = "measured = \"measured.toml\"\npolicy = \"policy.toml\"\nrun_dir = \"run\"\n";
    write(
        "attestation.toml",
        &format!("{common}listen = \"127.0.0.1:8444\"\naudit.dir = \"audit\"\n[log]\nlevel = \"info\"\n"),
    );
    assert!(Policy::parse(policy.as_bytes()).is_ok() && MeasuredConfig::parse(measured.as_bytes()).is_ok());
    (sha256(measured.as_bytes()), folder.join("attestation.toml"))
}

fn public_tls(callers: &CallerTrust) -> (ServerTls, CertificateDer<'static>) {
    let key = ServiceKey::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    (mtls::public_server_tls(&key, vec![certificate.clone()], Some(callers)).unwrap(), certificate)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}
