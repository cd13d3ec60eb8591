//! What a stream costs in memory that waits for its next piece.

use std::{fs, time::Duration};

use futures_util::future::try_join_all;
use nix::unistd::Pid;

use crate::{Outcome, backend::Backend, cube::Cube, grpc::Grpc};

const CONNECTIONS: usize = 10;
const STREAMS: usize = 1_000;
/// Longer than it takes to begin them all, shorter than the gateway bears silence.
const SILENCE: Duration = Duration::from_secs(50);

/// KiB of both services that each of many idle streams adds to those that its client connection costs.
pub(crate) async fn kib_each(cube: &Cube, backend: &Backend) -> Outcome<f64> {
    backend.pace(SILENCE);
    let channels = try_join_all((0..CONNECTIONS).map(|_| cube.channel())).await?;
    let clients = || channels.iter().map(|channel| Grpc::new(channel.clone(), backend.started));
    // One on each, so that what is made with a first request is there before.
    let first = try_join_all(clients().map(Grpc::idle)).await?;
    let before = resident(cube.processes()?)?;
    let mut streams = Vec::new();
    // One after the other: what a beginning takes for a moment is not what a stream keeps.
    for client in (0..STREAMS / CONNECTIONS).flat_map(|_| clients()) {
        streams.push(client.idle().await?);
    }
    let after = resident(cube.processes()?)?;
    drop((first, streams));
    Ok((after - before) / f64::from(u32::try_from(STREAMS)?))
}

/// In KiB.
fn resident(processes: [Pid; 2]) -> Outcome<f64> {
    let mut total = 0.0;
    for process in processes {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        total += line.trim().trim_end_matches(" kB").parse::<f64>()?;
    }
    Ok(total)
}
