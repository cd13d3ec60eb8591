//! What a chat stream costs on its way through both hops: `cargo xtask bench stream`.
//!
//! One client, one model server, two ways between them: Cube's gateway and adapter as processes on
//! simulated hardware, and a bare relay that ends TLS and passes bytes on. Both end the client's TLS,
//! because nobody serves outsiders without: what is compared is what attestation, the second hop and
//! the translation between dialects add. The relay looks at nothing and keeps its connection to the
//! model server, so no gateway that does something can bring the ratio down to 1.
//!
//! A stream is 50 pieces of text and the end, as OpenAI's server-sent events over HTTP/1.1: one after
//! the other as fast as they go, then many at once with 20 ms between pieces. Rounds of both ways
//! alternate. CPU is that of the processes between client and model server, by their CPU clocks. This
//! judges nothing; it exists so that regressions show.

mod backend;
mod client;
mod cube;
mod relay;

use std::{
    env,
    error::Error,
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::bench::{Report, failed, median, percentile};
use futures_util::future::try_join_all;
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use rustls::ClientConfig;

use backend::Backend;
use client::{Client, Seen};
use cube::Cube;
use relay::Relay;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Streams one after the other, in one round.
const BURST: usize = 25;
const BURST_ROUNDS: usize = 40;
/// Streams at once, in one round.
const PACED: usize = 50;
const PACED_ROUNDS: usize = 6;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [word, backend] if word == "relay" => relay::run(backend),
        _ => bench(),
    };
    outcome.map_or_else(|error| failed("stream", &*error), |()| ExitCode::SUCCESS)
}

#[tokio::main]
async fn bench() -> Outcome<()> {
    let mut report = Report::from_arguments("stream")?;
    let backend = Backend::start(Instant::now()).await?;
    let (cube, relay) = (Cube::start(backend.address)?, Relay::start(backend.address)?);
    let [gateway, adapter] = cube.processes()?;
    let mut hops = Way::new("Cube: gateway and adapter", vec![gateway, adapter], cube.door().await?);
    let mut bare = Way::new("bare relay", vec![relay.process()?], relay.door()?);
    for (clients, rounds, pace) in [(1, BURST_ROUNDS, Duration::ZERO), (PACED, PACED_ROUNDS, backend::PACE)] {
        backend.pace(pace);
        for way in [&mut hops, &mut bare] {
            way.connect(clients, backend.started).await?;
        }
        // The first of each is warm-up.
        for round in 0..=rounds {
            let mut turn = [&mut hops, &mut bare];
            turn.rotate_left(round % 2);
            for way in turn {
                way.go(pace, round > 0).await?;
            }
        }
    }
    hops.tell(&mut report);
    bare.tell(&mut report);
    report.ratio("cpu_stream_vs_bare_relay", hops.cpu_burst() / bare.cpu_burst());
    report.ratio("cpu_paced_stream_vs_bare_relay", hops.cpu_paced() / bare.cpu_paced());
    report.ratio("p50_stream_vs_bare_relay", median(&hops.walls) / median(&bare.walls));
    report.ratio("p50_paced_piece_vs_bare_relay", median(&hops.delays) / median(&bare.delays));
    Ok(report.finish()?)
}

/// Where a client connects, and whom it trusts there.
struct Door {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// One way from the client to the model server, and what was measured on it.
struct Way {
    name: &'static str,
    processes: Vec<Pid>,
    door: Door,
    /// As many as stream at once.
    clients: Vec<Client>,
    /// CPU per stream of each round, in microseconds: as fast as it goes, and paced.
    cpu: [Vec<f64>; 2],
    /// Of each stream that goes as fast as it can, in microseconds.
    walls: Vec<f64>,
    /// From the model server to the client, of each piece of a paced stream, in microseconds.
    delays: Vec<f64>,
}

impl Way {
    fn new(name: &'static str, processes: Vec<Pid>, door: Door) -> Self {
        let (clients, cpu, walls, delays) = Default::default();
        Self { name, processes, door, clients, cpu, walls, delays }
    }

    /// Anew for each kind of round: the gateway does not keep a connection without a request for long.
    async fn connect(&mut self, clients: usize, started: Instant) -> Outcome<()> {
        self.clients = try_join_all((0..clients).map(|_| Client::connect(&self.door, started))).await?;
        Ok(())
    }

    /// One round.
    async fn go(&mut self, pace: Duration, counts: bool) -> Outcome<()> {
        let before = self.cpu_so_far()?;
        let seen = if pace.is_zero() { self.one_by_one().await? } else { self.at_once(pace).await? };
        let cpu = (self.cpu_so_far()? - before) / f64::from(u32::try_from(seen.len())?);
        if !counts {
            return Ok(());
        }
        let [burst, paced] = &mut self.cpu;
        if pace.is_zero() {
            burst.push(cpu);
            self.walls.extend(seen.iter().map(|seen| seen.wall));
        } else {
            paced.push(cpu);
            self.delays.extend(seen.iter().flat_map(|seen| &seen.delays));
        }
        Ok(())
    }

    async fn one_by_one(&mut self) -> Outcome<Vec<Seen>> {
        let client = self.clients.first_mut().ok_or("no client")?;
        let mut seen = Vec::with_capacity(BURST);
        for _ in 0..BURST {
            seen.push(client.stream().await?);
        }
        Ok(seen)
    }

    /// Started evenly within one pace, so that pieces do not come in step.
    async fn at_once(&mut self, pace: Duration) -> Outcome<Vec<Seen>> {
        let step = pace / u32::try_from(PACED)?;
        let streams = self.clients.iter_mut().zip(0u32..).map(async |(client, at)| {
            tokio::time::sleep(step * at).await;
            client.stream().await
        });
        try_join_all(streams).await
    }

    /// In microseconds.
    fn cpu_so_far(&self) -> Outcome<f64> {
        let mut total = 0.0;
        for process in &self.processes {
            total += Duration::from(clock_gettime(clock_getcpuclockid(*process)?)?).as_secs_f64() * 1e6;
        }
        Ok(total)
    }

    fn cpu_burst(&self) -> f64 {
        median(&self.cpu[0])
    }

    fn cpu_paced(&self) -> f64 {
        median(&self.cpu[1])
    }

    fn tell(&self, report: &mut Report) {
        let mut row = |metric, value| report.row(self.name, metric, value, "us");
        row("CPU per stream, as fast as it goes", self.cpu_burst());
        row("stream, as fast as it goes, p50", median(&self.walls));
        row("stream, as fast as it goes, p99", percentile(&self.walls, 99));
        row("CPU per stream, 20 ms-paced", self.cpu_paced());
        row("delay of a piece, 20 ms-paced, p50", median(&self.delays));
        row("delay of a piece, 20 ms-paced, p99", percentile(&self.delays, 99));
    }
}
