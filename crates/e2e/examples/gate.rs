//! What the gate costs per request and per chunk: `cargo xtask bench gate`.
//!
//! Real gates: two holders in this process, enrolled with an attestation-svc on simulated hardware, and a
//! connection attached between them. Beside each check, in every round, the least that any check of a
//! deadline costs: one atomic load and one reading of CLOCK_BOOTTIME. Medians are compared.
#![expect(unsafe_code, reason = "an allocator that counts cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    error::Error,
    hint::black_box,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dev_stack::{Options, Service, Stack, new_root, prepare};
use e2e::bench::{Report, failed, median};
use futures_util::{StreamExt, stream::BoxStream};
use health_gate::{
    Gate, Holder, HolderConfig, ServingPermit,
    attach::{AttachedChannel, AttachedPermit, Attachments, PeerAttachment, require, serve_attach},
};
use mtls::Role;
use nix::time::{ClockId, clock_gettime};
use proto::backend::v1::{
    AttachRequest, AttachResponse, GenerateRequest, GenerateResponse, ListModelsRequest, ListModelsResponse,
    backend_service_client::BackendServiceClient,
    backend_service_server::{BackendService, BackendServiceServer},
};
use service_runtime::{
    BackendAddress, CancellationToken, ConnectionLimits, Incoming, MeasuredConfig, Observer, Server,
    SystemClock, TaskTracker,
};
use snp_evidence::{Policy, TrustRoots};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tonic::{Request, Response, Status, Streaming, service::Routes};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 500;
/// Calls of one subject in one round, timed together.
const CALLS: u32 = 2_000;
/// For anything to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Counts the allocations of each thread by itself: leases are renewed meanwhile.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no count any more.
    ALLOCATIONS.try_with(|count| count.set(count.get() + 1)).unwrap_or_default();
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    bench().map_or_else(|error| failed("gate", &*error), |()| ExitCode::SUCCESS)
}

fn bench() -> Outcome<()> {
    let mut report = Report::from_arguments("gate")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let world = runtime.block_on(World::start())?;
    let baseline = AtomicU64::new(u64::MAX);
    let subjects = [
        Subject::new("atomic load and CLOCK_BOOTTIME", move || {
            baseline.load(Ordering::Acquire)
                > clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
                    now.tv_nsec().unsigned_abs() + now.tv_sec().unsigned_abs() * 1_000_000_000
                })
        }),
        Subject::new("ServingPermit::check", check(&world.permit)),
        Subject::new("Gate::permit", permit(&world.gate)),
        Subject::new("AttachedPermit::check", attached(&world.attached)),
    ];
    let figures = measure(&subjects);
    let [baseline, gate, permit, attach] = figures.as_slice() else {
        return Err("subjects are missing".into());
    };
    for (subject, figure) in subjects.iter().zip(&figures) {
        report.row(subject.name, "median per call", figure.nanos, "ns");
        report.row(subject.name, "allocations, all calls", figure.allocations, "1");
    }
    report.row("ServingPermit::check", "the same, other threads checking", contended(&world.permit), "ns");
    report.ratio("gate_ns", gate.nanos);
    report.ratio("gate_permit_ns", permit.nanos);
    report.ratio("attach_state_ns", attach.nanos);
    report.ratio("gate_vs_load_and_clock", gate.nanos / baseline.nanos);
    report.ratio("gate_allocations", gate.allocations + permit.allocations + attach.allocations);
    if !(world.gate.is_open() && world.attached.check().is_ok()) {
        return Err("the lease ended meanwhile; the figures are of refusals".into());
    }
    Ok(report.finish()?)
}

fn check(permit: &ServingPermit) -> impl Fn() -> bool + use<> {
    let permit = permit.clone();
    move || permit.check().is_ok()
}

fn permit(gate: &Gate) -> impl Fn() -> bool + use<> {
    let gate = gate.clone();
    move || gate.permit().is_ok()
}

fn attached(permit: &AttachedPermit) -> impl Fn() -> bool + use<> {
    let permit = permit.clone();
    move || permit.check().is_ok()
}

/// Something that is called many times in a row.
struct Subject {
    name: &'static str,
    /// One round: nanoseconds per call, and allocations of them all.
    round: Box<dyn Fn() -> (f64, u64)>,
}

impl Subject {
    fn new(name: &'static str, call: impl Fn() -> bool + 'static) -> Self {
        let round = move || {
            let (before, started) = (ALLOCATIONS.get(), Instant::now());
            for _ in 0..CALLS {
                black_box(call());
            }
            (started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS), ALLOCATIONS.get() - before)
        };
        Self { name, round: Box::new(round) }
    }
}

struct Figure {
    nanos: f64,
    allocations: f64,
}

/// All subjects in every round, so that whatever else the machine does hits them alike.
fn measure(subjects: &[Subject]) -> Vec<Figure> {
    let mut rounds = vec![Vec::with_capacity(ROUNDS); subjects.len()];
    for _ in 0..ROUNDS {
        for (subject, rounds) in subjects.iter().zip(&mut rounds) {
            rounds.push((subject.round)());
        }
    }
    let figure = |rounds: &Vec<(f64, u64)>| Figure {
        nanos: median(&rounds.iter().map(|(nanos, _)| *nanos).collect::<Vec<_>>()),
        allocations: f64::from(
            u32::try_from(rounds.iter().map(|(_, count)| count).sum::<u64>()).unwrap_or(u32::MAX),
        ),
    };
    rounds.iter().map(figure).collect()
}

/// The check while every other processor does nothing but the same check.
fn contended(permit: &ServingPermit) -> f64 {
    let (stop, subject) = (AtomicBool::new(false), Subject::new("contended", check(permit)));
    let others = std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1);
    std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    black_box(permit.check().is_ok());
                }
            });
        }
        let rounds: Vec<f64> = (0..ROUNDS).map(|_| (subject.round)().0).collect();
        stop.store(true, Ordering::Relaxed);
        median(&rounds)
    })
}

/// Two holders of one CVM, attached.
struct World {
    gate: Gate,
    permit: ServingPermit,
    attached: AttachedPermit,
    /// The lease and the attachment last as long as these.
    _alive: (TempDir, Stack, Holder, Holder, BackendServiceClient<AttachedChannel>),
}

impl World {
    async fn start() -> Outcome<Self> {
        mtls::install_crypto_provider();
        let folder = tempfile::tempdir()?;
        let backend = BackendAddress::Unix("/nonexistent".into());
        let free = || std::net::TcpListener::bind("127.0.0.1:0")?.local_addr();
        let options =
            Options { attestation: free()?, ..Options::on([127, 0, 0, 1].into(), "openai", backend) };
        let mut stack = Stack::new(prepare(folder.path(), &options, &new_root(&SystemClock)?)?)?;
        stack.start(Service::Attestation)?;
        stack.wait_for(Service::Attestation, "can be enrolled", PATIENCE)?;
        let (gateway, adapter) = (hold(&stack, Role::Gateway).await?, hold(&stack, Role::Adapter).await?);

        let (captured, mut permits) = mpsc::channel(1);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = Server {
            router: Routes::new(BackendServiceServer::new(Capture(captured))).into_axum_router(),
            tls: Some(adapter.mutual_tls()),
            scope: Attachments::new(&adapter, Role::Gateway).scope(),
            limits: ConnectionLimits::default(),
            recycle: watch::channel(0).1,
            observer: Observer::default(),
        };
        tokio::spawn(server.serve(Incoming::Tcp(listener), CancellationToken::new()));
        let mut client =
            BackendServiceClient::new(AttachedChannel::connect(address, &gateway, Role::Adapter));
        client.list_models(ListModelsRequest::default()).await?;
        let attached = permits.recv().await.ok_or("no attachment")?;
        let (gate, permit) = (gateway.gate(), gateway.gate().permit()?);
        Ok(Self { gate, permit, attached, _alive: (folder, stack, gateway, adapter, client) })
    }
}

/// Holds an identity in this process, as a service would.
async fn hold(stack: &Stack, role: Role) -> Outcome<Holder> {
    let files = stack.files();
    let config = HolderConfig {
        role,
        run_dir: files.run_dir(),
        measured: MeasuredConfig::load(&files.measured())?,
        policy: Policy::parse(&std::fs::read(files.policy())?)?,
        roots: TrustRoots::simulated(&std::fs::read(files.root())?)?,
        listeners: vec![],
        start_timeout: PATIENCE,
        drain: Duration::ZERO,
        clock: Arc::new(SystemClock),
    };
    Ok(health_gate::start(config, CancellationToken::new(), &TaskTracker::new()).await?)
}

/// An adapter that hands out the permit of its calls.
#[derive(Clone)]
struct Capture(mpsc::Sender<AttachedPermit>);

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl BackendService for Capture {
    type AttachStream = Answers<AttachResponse>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = request.extensions().get::<PeerAttachment>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("no attachment"))?;
        Ok(Response::new(serve_attach(&peer, request.into_inner()).boxed()))
    }

    type GenerateStream = Answers<GenerateResponse>;

    async fn generate(&self, _: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        Err(Status::unimplemented("nothing is generated here"))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let permit = require(request.extensions())?;
        self.0.send(permit).await.map_err(|_| Status::internal("nobody measures"))?;
        Ok(Response::new(ListModelsResponse::default()))
    }
}
