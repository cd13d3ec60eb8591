//! What an answer costs on its way to the client: `cargo xtask bench gateway`.
//!
//! One client, one model server, and ways between them: none at all; a bare relay that ends TLS and looks at nothing;
//! Envoy twice, with mutual TLS between the two; Cube's gateway and adapter as processes on simulated hardware, once for
//! OpenAI's dialect and once for gRPC; and LLM gateways that others made, each one hop without TLS.
//!
//! Answers come whole, to one client alone and to 32 at once; or as streams of 50 pieces of text and the end, to 32 clients
//! as fast as they go and to 50 with 20 ms between pieces. Rounds of all ways take turns. CPU is that of the processes
//! between client and model server, by their CPU clocks. What a way adds to a time is its median, or 99th of 100, less the
//! median without anything between.

mod backend;
mod cube;
mod envoy;
mod grpc;
mod http;
mod idle;
mod peers;
mod relay;
mod way;

use std::{
    env,
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use e2e::bench::{Report, failed, median, percentile};

use backend::Backend;
use cube::Cube;
use envoy::Envoy;
use peers::Peer;
use relay::Relay;
use way::{Door, Kind, Way};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [word, backend] if word == "relay" => relay::run(backend),
        [commit, file, programs @ ..] => bench(commit, file, programs),
        _ => Err("usage: gateway COMMIT FILE NAME=PROGRAM...; `cargo xtask bench gateway` gives them".into()),
    };
    outcome.map_or_else(|error| failed("gateway", &*error), |()| ExitCode::SUCCESS)
}

#[tokio::main]
async fn bench(commit: &str, file: &str, programs: &[String]) -> Outcome<()> {
    let mut report = Report::new("gateway", commit, file);
    let backend = Backend::start(Instant::now()).await?;
    let program = |name: &str| programs.iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
    let (cube, relay) = (Cube::start(backend.address)?, Relay::start(backend.address)?);
    let envoy = Envoy::start(program("envoy").ok_or("no Envoy to compare with")?.as_ref(), backend.address)?;
    let mut peers = Vec::new();
    for name in peers::NAMES {
        if let Some(program) = program(name) {
            peers.push((name, Peer::start(name, program.as_ref(), backend.address).await?));
        }
    }
    let own = cube.processes()?.to_vec();
    let mut ways = vec![
        Way::new("Cube: gateway and adapter", own.clone(), cube.door().await?),
        Way::new("Cube: gateway and adapter, gRPC", own, Door::Grpc(cube.channel().await?)),
        Way::new("Envoy and Envoy", envoy.processes()?.to_vec(), envoy.door()?),
        Way::new("bare relay", vec![relay.process()?], relay.door()?),
        Way::new("nothing between", Vec::new(), Door::to(backend.address, None)),
    ];
    for (name, peer) in &peers {
        ways.push(Way::new(name, vec![peer.process()?], peer.door()));
    }
    measure(&mut ways, &backend).await?;
    for way in &ways {
        way.tell(&mut report);
    }
    ratios(&ways, &mut report)?;
    report.ratio("idle_stream_kib", idle::kib_each(&cube, &backend).await?);
    Ok(report.finish()?)
}

/// Rounds of all ways, each time in another order.
async fn measure(ways: &mut [Way], backend: &Backend) -> Outcome<()> {
    for kind in Kind::ALL {
        backend.pace(if kind == Kind::Paced { backend::PACE } else { Duration::ZERO });
        // The first is warm-up.
        for round in 0..=kind.rounds() {
            for at in 0..ways.len() {
                let turn = (at + round) % ways.len();
                if let Some(way) = ways.get_mut(turn) {
                    let gone = way.go(kind, backend.started, round > 0).await;
                    gone.map_err(|error| format!("{}: {error}", way.name))?;
                }
            }
        }
    }
    Ok(())
}

fn ratios(ways: &[Way], report: &mut Report) -> Outcome<()> {
    let [cube, grpc, envoy, bare, direct, peers @ ..] = ways else { return Err("a way is missing".into()) };
    for (own, prefix) in [(cube, ""), (grpc, "grpc_")] {
        for (name, kind) in [("stream", Kind::Burst), ("unary", Kind::Unary), ("paced_stream", Kind::Paced)] {
            report.ratio(&format!("{prefix}cpu_{name}_vs_envoy"), own.cpu(kind) / envoy.cpu(kind));
        }
        for percent in [50, 99] {
            let added = |way: &Way| percentile(&way.walls, percent) - median(&direct.walls);
            report.ratio(&format!("{prefix}added_p{percent}_vs_envoy"), added(own) / added(envoy));
            let added = |way: &Way| percentile(&way.delays, percent) - median(&direct.delays);
            report
                .ratio(&format!("{prefix}added_p{percent}_paced_piece_vs_envoy"), added(own) / added(envoy));
        }
    }
    report.ratio("cpu_stream_vs_bare_relay", cube.cpu(Kind::Burst) / bare.cpu(Kind::Burst));
    let best = peers.iter().map(|peer| peer.cpu(Kind::Burst)).min_by(f64::total_cmp);
    if let Some(best) = best {
        report.ratio("cpu_stream_vs_best_llm_gateway", cube.cpu(Kind::Burst) / best);
    }
    Ok(())
}
