//! One way from the client to the model server, and what was measured on it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use attested_client::AttestedChannel;
use e2e::bench::{Report, median, percentile};
use futures_util::future::try_join_all;
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use rustls::ClientConfig;

use crate::{
    Outcome,
    backend::{PACE, PIECES},
    grpc::Grpc,
    http::Http,
};

/// What is asked in a round, and of how many clients at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole answers, by one client.
    Lone,
    /// Whole answers.
    Unary,
    /// Streams as fast as they go.
    Burst,
    /// Streams with 20 ms between pieces.
    Paced,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Lone, Self::Unary, Self::Burst, Self::Paced];

    pub(crate) const fn rounds(self) -> usize {
        if matches!(self, Self::Paced) { 6 } else { 12 }
    }

    /// Clients, and answers of each, in one round.
    const fn load(self) -> (usize, u32) {
        match self {
            Self::Lone => (1, 100),
            Self::Unary | Self::Burst => (32, 4),
            Self::Paced => (50, 1),
        }
    }
}

/// Where a client connects, and whom it trusts there.
pub(crate) enum Door {
    Http(Socket),
    Grpc(AttestedChannel),
}

pub(crate) struct Socket {
    pub(crate) address: SocketAddr,
    /// None where it goes without.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Door {
    pub(crate) fn to(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        Self::Http(Socket { address, tls })
    }
}

/// The delays of the pieces of a whole stream, from their making to their reading; an error where one is missing or too many.
pub(crate) fn whole(delays: Vec<f64>) -> Outcome<Vec<f64>> {
    if delays.len() == PIECES as usize {
        Ok(delays)
    } else {
        Err(format!("a stream of {} pieces", delays.len()).into())
    }
}

/// In microseconds.
pub(crate) fn since(then: Instant) -> f64 {
    then.elapsed().as_secs_f64() * 1e6
}

enum Client {
    Http(Http),
    Grpc(Box<Grpc>),
}

impl Client {
    async fn connect(door: &Door, started: Instant) -> Outcome<Self> {
        match door {
            Door::Http(socket) => Http::connect(socket, started).await.map(Self::Http),
            Door::Grpc(channel) => Ok(Self::Grpc(Box::new(Grpc::new(channel.clone(), started)))),
        }
    }

    async fn unary(&mut self) -> Outcome<f64> {
        match self {
            Self::Http(client) => client.unary().await,
            Self::Grpc(client) => client.unary().await,
        }
    }

    async fn unaries(&mut self, count: u32) -> Outcome<Vec<f64>> {
        let mut walls = Vec::new();
        for _ in 0..count {
            walls.push(self.unary().await?);
        }
        Ok(walls)
    }

    /// The delays of their pieces.
    async fn streams(&mut self, kind: Kind, at: u32, count: u32) -> Outcome<Vec<f64>> {
        if kind == Kind::Paced {
            // Evenly within one pace, so that pieces do not come in step.
            tokio::time::sleep(PACE / 50 * at).await;
        }
        let mut delays = Vec::new();
        for _ in 0..count {
            delays.extend(match self {
                Self::Http(client) => client.stream().await?,
                Self::Grpc(client) => client.stream().await?,
            });
        }
        Ok(delays)
    }
}

pub(crate) struct Way {
    pub(crate) name: &'static str,
    processes: Vec<Pid>,
    door: Door,
    /// CPU per answer of each round, in microseconds, by kind.
    cpu: [Vec<f64>; Kind::ALL.len()],
    /// Of each whole answer to a client that is alone, in microseconds.
    pub(crate) walls: Vec<f64>,
    /// From the model server to the client, of each piece of a paced stream, in microseconds.
    pub(crate) delays: Vec<f64>,
}

impl Way {
    pub(crate) fn new(name: &'static str, processes: Vec<Pid>, door: Door) -> Self {
        let (cpu, walls, delays) = Default::default();
        Self { name, processes, door, cpu, walls, delays }
    }

    /// One round, on connections that it makes, and of which each has had an answer before: no server keeps one for
    /// long without a request.
    pub(crate) async fn go(&mut self, kind: Kind, started: Instant, counts: bool) -> Outcome<()> {
        let (count, each) = kind.load();
        let mut clients = try_join_all((0..count).map(|_| Client::connect(&self.door, started))).await?;
        try_join_all(clients.iter_mut().map(Client::unary)).await?;
        let before = self.cpu_so_far()?;
        let (walls, delays) = match kind {
            Kind::Lone | Kind::Unary => {
                (all(&mut clients, async |_, client| client.unaries(each).await).await?, Vec::new())
            }
            Kind::Burst | Kind::Paced => (
                Vec::new(),
                all(&mut clients, async |at, client| client.streams(kind, at, each).await).await?,
            ),
        };
        let cpu = (self.cpu_so_far()? - before) / f64::from(each) / f64::from(u32::try_from(count)?);
        if counts {
            self.cpu.get_mut(kind as usize).ok_or("no such kind")?.push(cpu);
            self.walls.extend(walls.into_iter().filter(|_| kind == Kind::Lone));
            self.delays.extend(delays.into_iter().filter(|_| kind == Kind::Paced));
        }
        Ok(())
    }

    /// In microseconds.
    fn cpu_so_far(&self) -> Outcome<f64> {
        let mut total = 0.0;
        for process in &self.processes {
            total += Duration::from(clock_gettime(clock_getcpuclockid(*process)?)?).as_secs_f64() * 1e6;
        }
        Ok(total)
    }

    /// The median of the rounds, in microseconds.
    pub(crate) fn cpu(&self, kind: Kind) -> f64 {
        self.cpu.get(kind as usize).map_or(f64::NAN, |rounds| median(rounds))
    }

    pub(crate) fn tell(&self, report: &mut Report) {
        let mut row = |metric, value| report.row(self.name, metric, value, "us");
        row("CPU per whole answer, 32 at once", self.cpu(Kind::Unary));
        row("CPU per stream, 32 at once", self.cpu(Kind::Burst));
        row("CPU per stream, 50 paced by 20 ms", self.cpu(Kind::Paced));
        row("CPU per whole answer, alone", self.cpu(Kind::Lone));
        row("whole answer, alone, p50", median(&self.walls));
        row("whole answer, alone, p99", percentile(&self.walls, 99));
        row("delay of a paced piece, p50", median(&self.delays));
        row("delay of a paced piece, p99", percentile(&self.delays, 99));
    }
}

/// What all clients see, at once.
async fn all(
    clients: &mut [Client],
    go: impl AsyncFn(u32, &mut Client) -> Outcome<Vec<f64>>,
) -> Outcome<Vec<f64>> {
    let seen = try_join_all(clients.iter_mut().zip(0..).map(|(client, at)| go(at, client))).await?;
    Ok(seen.concat())
}
