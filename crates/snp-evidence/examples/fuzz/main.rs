//! Does damage ever pass? `cargo xtask conformance fuzz`.
//!
//! First exhaustively: every bit of every accepted report, every byte of its certificates and list. Then at random, but
//! knowing the structures: fields exchanged between reports, DER that stays DER, members and rules gone or doubled.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "shared with the tests")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is the result")]

#[path = "../common/conformance.rs"]
mod conformance;
mod der;
mod report;
mod rng;
mod subject;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../../tests/it/support.rs"]
mod support;
mod text;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../../tests/it/world.rs"]
mod world;

use std::{
    cell::Cell,
    collections::BTreeSet,
    env,
    error::Error,
    panic,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use snp_evidence::{Evidence, Vek};

use conformance::Case;
use rng::Rng;
use subject::{Machine, Subject};

const USAGE: &str = "usage: fuzz FILE [MUTATIONS [SEED]]; `cargo xtask conformance fuzz` gives FILE";
const MUTATIONS: u64 = 1_000_000;

thread_local! {
    /// A panic names the mutation that caused it; the same seed makes it again.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse::<u64>());
    let (mutations, seed) = (number(1, MUTATIONS)?, number(2, 1)?);
    let file = arguments.first().ok_or(USAGE)?;
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        eprintln!("while judging mutation {} of seed {seed}:", CURRENT.get());
        before(info);
    }));
    let machine = Machine::new();
    let real = subject::real();
    let mut cases = exhaust(&real);
    if real.is_empty() {
        let why = "../shared/evidence is absent".to_owned();
        cases.push(Case { id: "real:all".to_owned(), passed: None, why });
    }
    cases.extend(mutate(&real, &machine, mutations, seed));
    let passed = conformance::write("fuzz", &cases, Path::new(file))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As many at a time as there are processors; the results in order.
fn in_parallel<T: Send>(jobs: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        numbers.take_while(|number| *number < jobs).map(|number| (number, job(number))).collect::<Vec<_>>()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

const PARTS: [(&str, Part); 6] = [
    ("report", |evidence| Some(&mut evidence.report)),
    ("VEK", |evidence| match evidence.endorsements.vek.as_mut()? {
        Vek::Vcek(der) | Vek::Vlek(der) => Some(der),
    }),
    ("ASK", |evidence| evidence.endorsements.ask.as_mut()),
    ("ASVK", |evidence| evidence.endorsements.asvk.as_mut()),
    ("ARK", |evidence| evidence.endorsements.ark.as_mut()),
    ("CRL", |evidence| evidence.endorsements.crl.as_mut()),
];

type Part = fn(&mut Evidence) -> Option<&mut Vec<u8>>;

fn bytes(evidence: &Evidence, part: Part) -> Option<Vec<u8>> {
    part(&mut evidence.clone()).map(|bytes| bytes.clone())
}

/// Every single bit of each report, and of each certificate and list every byte, changed in three ways. What comes
/// along with several reports is done with the first.
fn exhaust(subjects: &[Subject]) -> Vec<Case> {
    let (mut jobs, mut seen) = (Vec::new(), BTreeSet::new());
    for subject in subjects {
        for (name, part) in PARTS {
            if bytes(&subject.evidence, part).is_some_and(|bytes| seen.insert(bytes)) {
                jobs.push((subject, name, part));
            }
        }
    }
    let started = Instant::now();
    let results = in_parallel(jobs.len(), |job| {
        let (subject, name, part) = jobs[job];
        let masks: &[u8] = if name == "report" { &[1, 2, 4, 8, 16, 32, 64, 128] } else { &[1, 0x80, 0xFF] };
        let (tried, accepted) = changed(subject, part, masks);
        (tried, accepted, outcome(&format!("{}:{name}", subject.id), tried, accepted))
    });
    let tried: u64 = results.iter().map(|(tried, ..)| tried).sum();
    let accepted: u64 = results.iter().map(|(_, accepted, _)| accepted).sum();
    print("every bit and byte", tried, accepted, started);
    results.into_iter().map(|(.., case)| case).collect()
}

fn changed(subject: &Subject, part: Part, masks: &[u8]) -> (u64, u64) {
    let (mut evidence, mut tried, mut accepted) = (subject.evidence.clone(), 0, 0);
    let length = part(&mut evidence).map_or(0, |bytes| bytes.len());
    let flip = |evidence: &mut Evidence, at: usize, mask| {
        if let Some(bytes) = part(evidence) {
            bytes[at] ^= mask;
        }
    };
    for at in 0..length {
        for mask in masks {
            flip(&mut evidence, at, *mask);
            tried += 1;
            accepted += u64::from(subject.accepts(&evidence));
            flip(&mut evidence, at, *mask);
        }
    }
    (tried, accepted)
}

fn outcome(id: &str, tried: u64, accepted: u64) -> Case {
    let why = format!("{accepted} of {tried} changes accepted");
    Case { id: id.to_owned(), passed: Some(accepted == 0), why }
}

fn print(what: &str, tried: u64, accepted: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = tried as f64 / seconds;
    println!("{what:30} {tried:9} tried {accepted:3} accepted {seconds:7.1} s {rate:9.0}/s");
}

const KINDS: [&str; 6] = ["report", "reserved, signed", "certificate", "list", "policy", "bundle"];

fn mutate(real: &[Subject], machine: &Machine, mutations: u64, seed: u64) -> Vec<Case> {
    const BATCH: u64 = 1_000;
    let corpus = Corpus::new(real, machine);
    let tally: [[AtomicU64; 2]; 6] = Default::default();
    let started = Instant::now();
    let batches = usize::try_from(mutations.div_ceil(BATCH)).unwrap();
    in_parallel(batches, |batch| {
        let first = batch as u64 * BATCH;
        for number in first..mutations.min(first + BATCH) {
            CURRENT.set(number);
            let mut rng = Rng::new(seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(number));
            let (kind, accepted) = corpus.judge(&mut rng);
            tally[kind][0].fetch_add(1, Ordering::Relaxed);
            if accepted {
                eprintln!("mutation {number} of seed {seed}, a {}, is accepted", KINDS[kind]);
                tally[kind][1].fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let sums = tally.map(|counts| counts.map(AtomicU64::into_inner));
    print("mutations", mutations, sums.iter().map(|[_, accepted]| accepted).sum(), started);
    let case = |(kind, [tried, accepted]): (&&str, [u64; 2])| {
        println!("  {kind:28} {tried:9} tried {accepted:3} accepted");
        outcome(&format!("fixture:mutations:{kind}"), tried, accepted)
    };
    KINDS.iter().zip(sums).map(case).collect()
}

/// What mutations start from, and what they borrow from.
struct Corpus<'a> {
    subjects: Vec<&'a Subject>,
    listed: Vec<&'a Subject>,
    machine: &'a Machine,
    reports: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

impl<'a> Corpus<'a> {
    fn new(real: &'a [Subject], machine: &'a Machine) -> Self {
        let subjects: Vec<_> = real.iter().chain([&machine.subject]).collect();
        let listed =
            subjects.iter().filter(|subject| subject.evidence.endorsements.crl.is_some()).copied().collect();
        let of = |parts: &[(&str, Part)]| -> Vec<Vec<u8>> {
            let all =
                subjects.iter().flat_map(|s| parts.iter().filter_map(|(_, part)| bytes(&s.evidence, *part)));
            all.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let (reports, certificates) = (of(&PARTS[..1]), of(&PARTS[1..]));
        Self { subjects, listed, machine, reports, certificates }
    }

    /// One mutation: its kind, and whether it was accepted.
    fn judge(&self, rng: &mut Rng) -> (usize, bool) {
        let Self { subjects, listed, machine, reports, certificates } = self;
        match rng.below(100) {
            0..=39 => {
                (0, accepts(subjects, &PARTS[..1], |bytes, rng| report::mutate(bytes, reports, rng), rng))
            }
            40..=44 => {
                let report = &machine.subject.evidence.report;
                let report = report::reserved(report, &machine.processor, rng);
                (1, machine.subject.accepts(&machine.evidence_of(report)))
            }
            45..=64 => {
                (2, accepts(subjects, &PARTS[1..5], |der, rng| der::mutate(der, certificates, rng), rng))
            }
            65..=74 => (3, accepts(listed, &PARTS[5..], |der, rng| der::mutate(der, certificates, rng), rng)),
            75..=84 => {
                let (text, must_fail) = text::policy(&machine.policy, rng);
                (4, machine.accepts_policy(&text, must_fail))
            }
            _ => (5, machine.accepts_bundle(&text::bundle(&machine.bundle, rng))),
        }
    }
}

/// Changes one of these parts of one of the subjects until it is none of them: AMD issues certificates anew, and one in
/// the place of the other is no damage.
fn accepts(
    subjects: &[&Subject],
    parts: &[(&str, Part)],
    mutate: impl Fn(&[u8], &mut Rng) -> Vec<u8>,
    rng: &mut Rng,
) -> bool {
    loop {
        let subject = *rng.one(subjects);
        let mut evidence = subject.evidence.clone();
        let Some(bytes) = rng.one(parts).1(&mut evidence) else { continue };
        *bytes = mutate(bytes, rng);
        if subjects.iter().all(|genuine| genuine.evidence != evidence) {
            return subject.accepts(&evidence);
        }
    }
}
