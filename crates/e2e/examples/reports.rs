//! How many callers one secure processor answers: `cargo xtask bench reports`.
//!
//! A device on which one report a second may be started, and which takes 20 ms for it: more is throttled, and would show as
//! a failure. attestation-svc runs in this process with that device, the gateway as a process of its own; clients ask over
//! gRPC on verified connections, each question with a nonce of its own, and ask again as soon as they are answered. One
//! answer in many is appraised.

use std::{
    error::Error,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use attested_client::{AttestedChannel, Limits, ServerTrust, Target, fresh_nonce};
use dev_stack::{Options, Service, SimulatedPlatform, Stack, new_root, prepare};
use e2e::bench::{Report, failed, percentile};
use futures_util::future::try_join_all;
use proto::attestation::v1::{
    Binding, GetEvidenceRequest, attestation_service_client::AttestationServiceClient,
};
use service_runtime::{BackendAddress, CancellationToken, Clock, SystemClock};
use snp_evidence::{
    Binder, Challenge, Evidence, EvidenceFormat, KeyUse, PUBLIC_LISTENER, Policy, Purpose, TrustRoots,
    UnixTime, appraise,
};
use snp_platform::{Platform, PlatformError};
use tokio::{net::TcpListener, task::JoinSet};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CONNECTIONS: usize = 100;
/// Questions that one connection has open at once, of the 64 that it may.
const OPEN: usize = 54;
/// Until waves of questions have become even.
const WARM_UP: Duration = Duration::from_secs(5);
/// That is measured then.
const MEASURED: Duration = Duration::from_secs(10);
/// A little less than a second, which no two clocks measure alike.
const FROM_START_TO_START: Duration = Duration::from_millis(990);
/// For anything to come up.
const PATIENCE: Duration = Duration::from_mins(1);
/// One answer in so many is looked at.
const LOOKED_AT: usize = 100;

/// The simulated processor, as slow as a real one.
#[derive(Debug)]
struct Slow {
    processor: SimulatedPlatform,
    started: Mutex<Option<Instant>>,
    reports: Arc<AtomicU32>,
}

impl Platform for Slow {
    fn format(&self) -> EvidenceFormat {
        self.processor.format()
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, PlatformError> {
        let mut started = self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if started.is_some_and(|at| at.elapsed() < FROM_START_TO_START) {
            return Err(PlatformError::Throttled { place: "the slow processor".to_owned() });
        }
        *started = Some(Instant::now());
        sleep(Duration::from_millis(20));
        self.reports.fetch_add(1, Ordering::Relaxed);
        self.processor.evidence(report_data)
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(bench()));
    outcome.map_or_else(|error| failed("reports", &*error), |()| ExitCode::SUCCESS)
}

async fn bench() -> Outcome<()> {
    let mut report = Report::from_arguments("reports")?;
    let (world, _gateway) = World::start().await?;
    let world = Arc::new(world);
    let channels = try_join_all((0..CONNECTIONS).map(|_| world.connect())).await?;
    let before = world.reports.load(Ordering::Relaxed);
    let since = Instant::now() + WARM_UP;
    let mut callers = JoinSet::new();
    for channel in channels {
        for _ in 0..OPEN {
            callers.spawn(Arc::clone(&world).ask(channel.clone(), since));
        }
    }
    let mut waits = Vec::new();
    while let Some(asked) = callers.join_next().await {
        waits.extend(asked??);
    }
    let reports = f64::from(world.reports.load(Ordering::Relaxed) - before);
    let per_second = f64::from(u32::try_from(waits.len())?) / MEASURED.as_secs_f64();
    report.row("nonces", "answered", per_second, "1/s");
    report.row("reports", "made meanwhile, warm-up included", reports, "1");
    report.row("nonces", "wait, 95 of 100", percentile(&waits, 95), "ms");
    report.row("nonces", "median wait", percentile(&waits, 50), "ms");
    report.ratio("nonces_per_s", per_second);
    report.ratio("p99_wait_ms", percentile(&waits, 99));
    Ok(report.finish()?)
}

/// A CVM in small.
struct World {
    reports: Arc<AtomicU32>,
    target: Target,
    roots: TrustRoots,
    policy: Policy,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Outcome<(Self, Stack)> {
        mtls::install_crypto_provider();
        let folder = tempfile::tempdir()?;
        let free = || std::net::TcpListener::bind("127.0.0.1:0")?.local_addr();
        let backend = BackendAddress::Unix("/nonexistent".into());
        let options = Options {
            attestation: free()?,
            gateway: free()?,
            adapter: free()?,
            ..Options::on([127, 0, 0, 1].into(), "openai", backend)
        };
        let target = format!("https://{}", options.gateway).parse()?;
        let files = prepare(folder.path(), &options, &new_root(&SystemClock)?)?;
        let mut config = attestation_svc::Config::load(&files.config(Service::Attestation))?;
        config.reports.every = Duration::from_secs(1);
        let roots = TrustRoots::simulated(&std::fs::read(files.root())?)?;
        let policy = Policy::parse(&std::fs::read(files.client_policy())?)?;
        let reports = Arc::<AtomicU32>::default();
        let processor = SimulatedPlatform::load(&files.machine(), &files.guest())?;
        let device = Slow { processor, started: Mutex::default(), reports: Arc::clone(&reports) };
        let shutdown = CancellationToken::new();
        let listen = config.listen;
        let bind = move || TcpListener::bind(listen);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let running =
            attestation_svc::run(config, Box::new(device), roots.clone(), bind, clock, shutdown.clone());
        drop(tokio::spawn(running));
        let mut stack = Stack::new(files)?;
        let stack = tokio::task::spawn_blocking(move || {
            stack.start(Service::Gateway)?;
            stack.wait_for(Service::Gateway, "serving", PATIENCE)?;
            Ok::<_, Box<dyn Error + Send + Sync>>(stack)
        });
        let stack = stack.await??;
        Ok((Self { reports, target, roots, policy, shutdown, _folder: folder }, stack))
    }

    async fn connect(&self) -> Outcome<AttestedChannel> {
        let (trust, now) = (ServerTrust::EvidenceAlone, now_unix());
        let limits = Limits::default();
        Ok(AttestedChannel::connect(&self.target, &trust, limits, &self.roots, &self.policy, now).await?)
    }

    /// Asks again and again; the waits in milliseconds of what was answered in [`MEASURED`] from `since` on.
    async fn ask(self: Arc<Self>, channel: AttestedChannel, since: Instant) -> Outcome<Vec<f64>> {
        let keys = &channel.verified().manifest().keys;
        let leaf = keys.iter().find(|key| key.r#use == KeyUse::Tls).ok_or("no TLS key")?.sha256.0;
        let mut client = AttestationServiceClient::new(channel.clone());
        let mut waits = Vec::new();
        for number in 0_usize.. {
            let (nonce, asked) = (fresh_nonce()?, Instant::now());
            let request =
                GetEvidenceRequest { nonce: nonce.to_vec().into(), binding: Binding::TlsSpki.into() };
            let answer = client.get_evidence(request).await?.into_inner();
            let now = Instant::now();
            if now >= since + MEASURED {
                break;
            }
            if now >= since {
                waits.push((now - asked).as_secs_f64() * 1e3);
            }
            if number % LOOKED_AT == usize::from(nonce[0]) % LOOKED_AT {
                let binder = Binder::tls_spki(leaf, PUBLIC_LISTENER);
                let challenge = Challenge { purpose: Purpose::Fresh, nonce, binder };
                appraise(&answer.bundle, &self.roots, &self.policy, &challenge, now_unix())?;
            }
        }
        Ok(waits)
    }
}

fn now_unix() -> UnixTime {
    UnixTime(SystemClock.unix())
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
