//! What being believed costs, per token, per request and per chunk: `cargo xtask bench token`.
//!
//! A token is judged as a receiver judges one that it has not seen, beside one P-384 verification of the same bytes. Real
//! gates: two holders in this process, enrolled with an attestation-svc on simulated hardware, and a connection attached
//! between them. Beside each check, in every round, the least that any check of a deadline costs: one atomic load and one
//! reading of CLOCK_BOOTTIME. Medians are compared.

mod counting;
mod signed;
mod world;

use std::{
    error::Error,
    hint::black_box,
    process::ExitCode,
    rc::Rc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use e2e::bench::{Report, failed, median};
use health_gate::{Gate, ServingPermit, attach::AttachedPermit};
use nix::time::{ClockId, clock_gettime};

use counting::{Counting, allocations};
use signed::Signed;
use world::World;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 500;
/// Calls of one subject in one round, timed together.
const CALLS: u32 = 2_000;
/// The same of a subject that verifies a signature, some 10,000 times as long as a check.
const SIGNATURES: u32 = 4;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    bench().map_or_else(|error| failed("token", &*error), |()| ExitCode::SUCCESS)
}

fn bench() -> Outcome<()> {
    let mut report = Report::from_arguments("token")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let world = runtime.block_on(World::start())?;
    let baseline = AtomicU64::new(u64::MAX);
    let signed = Rc::new(Signed::new()?);
    let (judged, verified) = (Rc::clone(&signed), signed);
    let subjects = [
        Subject::of(SIGNATURES, "one P-384 verification", move || verified.verify()),
        Subject::of(SIGNATURES, "health_token::verify", move || judged.judge()),
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
    let [p384, token, baseline, gate, permit, attach] = figures.as_slice() else {
        return Err("subjects are missing".into());
    };
    for (subject, figure) in subjects.iter().zip(&figures) {
        report.row(subject.name, "median per call", figure.nanos, "ns");
        report.row(subject.name, "allocations, all calls", figure.allocations, "1");
    }
    report.row("ServingPermit::check", "the same, other threads checking", contended(&world.permit), "ns");
    report.ratio("first_vs_p384", token.nanos / p384.nanos);
    report.ratio("gate_ns", gate.nanos);
    report.ratio("gate_permit_ns", permit.nanos);
    report.ratio("attach_state_ns", attach.nanos);
    report.ratio("gate_vs_load_and_clock", gate.nanos / baseline.nanos);
    report.ratio("allocations", gate.allocations + permit.allocations + attach.allocations);
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
        Self::of(CALLS, name, call)
    }

    fn of(calls: u32, name: &'static str, call: impl Fn() -> bool + 'static) -> Self {
        let round = move || {
            let (before, started) = (allocations(), Instant::now());
            let refused = (0..calls).filter(|_| !black_box(call())).count();
            let nanos = started.elapsed().as_secs_f64() * 1e9 / f64::from(calls);
            assert_eq!(refused, 0, "{name}: the figure would be of refusals");
            (nanos, allocations() - before)
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
