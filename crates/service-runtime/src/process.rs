//! The process itself: arguments, logs, signals, and what must not outlive it.

use std::{
    fmt::Display,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    thread::available_parallelism,
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};
use tokio::{
    net::TcpListener,
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Configuration, Observability, describe_config, load_config},
    exit::Exit,
    supervisor,
    telemetry::Telemetry,
};

/// What a task that has been told to end may take for it.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(version)]
struct Arguments<A: Args> {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Report every problem of the configuration, or the class of each key and the digests, and end.
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    own: A,
}

/// The whole `main` of a service: arguments (`A` beside the usual ones), configuration, logs, memory
/// that stays inside, then `service` until its end. What goes wrong before is said on stderr.
pub fn launch<C: Configuration, A: Args>(
    name: &'static str,
    about: &'static str,
    service: impl AsyncFnOnce(C, A, CancellationToken) -> Result<Exit, Exit>,
) -> ExitCode {
    let matches = Arguments::<A>::command().name(name).about(about).get_matches();
    // Clap itself knows how to end on arguments that it cannot use.
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start(name, arguments, service).unwrap_or_else(|(problem, exit)| refuse(name, problem, exit))
}

fn start<C: Configuration, A: Args>(
    name: &'static str,
    arguments: Arguments<A>,
    service: impl AsyncFnOnce(C, A, CancellationToken) -> Result<Exit, Exit>,
) -> Result<ExitCode, (String, Exit)> {
    let Arguments { config, check_config, own } = arguments;
    if check_config {
        let text = describe_config::<C>(&config).map_err(|error| (error.to_string(), error.exit()))?;
        let printed = io::stdout().write_all(text.as_bytes());
        return printed.map(|()| Exit::Clean.into()).map_err(|error| (error.to_string(), Exit::Config));
    }
    let config: C = load_config(&config).map_err(|error| (error.to_string(), error.exit()))?;
    let observability = config.observability().clone();
    let service = async |shutdown| service(config, own, shutdown).await.unwrap_or_else(|exit| exit);
    process(name, &observability, service)
}

/// Runs a service to its end on a runtime of its own, in memory that stays inside, with logs and
/// traces as `observability` has them.
fn process(
    name: &'static str,
    observability: &Observability,
    service: impl AsyncFnOnce(CancellationToken) -> Exit,
) -> Result<ExitCode, (String, Exit)> {
    let config = |problem| (problem, Exit::Config);
    harden().map_err(|error| config(format!("memory cannot be kept to the process: {error}")))?;
    let runtime = Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = runtime.map_err(|error| config(format!("the runtime cannot be started: {error}")))?;
    let exit = runtime.block_on(async {
        let telemetry = Telemetry::install(name, observability)?;
        let shutdown = shutdown_on_signals().map_err(|error| error.to_string())?;
        let exit = service(shutdown).await;
        telemetry.finish();
        Ok(exit)
    });
    // Whatever still blocks in a device call must not hold up the exit code.
    runtime.shutdown_background();
    exit.map(ExitCode::from).map_err(config)
}

/// How many threads run tasks. Gateway and adapter are busy at the same time on the same machine: with a thread for every
/// processor in both, half of what they do is to wake one another's.
fn workers() -> usize {
    available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

/// Logs why a service ends before it serves, and gives `exit`.
pub fn ends<E: Display>(exit: Exit) -> impl FnOnce(E) -> Exit {
    move |why| {
        tracing::error!(exit = exit as u8, %why, "not starting");
        exit
    }
}

/// Makes a service's listener with `bind`, or ends the service: `address` is its `listen` key.
pub async fn bound<B, F>(bind: B, address: SocketAddr) -> Result<TcpListener, Exit>
where
    B: FnOnce() -> F,
    F: Future<Output = io::Result<TcpListener>>,
{
    let bound = bind().await.map_err(|error| format!("listen: {address} cannot be bound: {error}"));
    bound.map_err(ends(Exit::Config))
}

/// Runs `serve` to its end, and then the tasks that it left with its tracker: its parts' going has told them all.
pub async fn to_its_end<F>(serve: impl FnOnce(TaskTracker) -> F) -> Exit
where
    F: Future<Output = Result<Exit, Exit>>,
{
    let tracker = TaskTracker::new();
    let exit = Box::pin(serve(tracker.clone())).await;
    tracker.close();
    if timeout(LEFT_BEHIND, tracker.wait()).await.is_err() {
        tracing::warn!(tasks = tracker.len(), "tasks did not end with the service");
    }
    exit.unwrap_or_else(|exit| exit)
}

/// Keeps the process's memory out of core files and away from other processes of its user, and
/// lets it have as many connections as the system allows: at the usual soft limit of 1,024 files,
/// idle clients could keep the lease from being renewed.
fn harden() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    Ok(())
}

/// A token that is cancelled by SIGTERM or SIGINT. Needs a tokio runtime.
pub fn shutdown_on_signals() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = token.clone();
    // Ends with the process; there is nothing to await.
    drop(tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        supervisor::stopping();
        cancel.cancel();
    }));
    Ok(token)
}

/// Says on stderr why `service` does not start, in one piece, and gives the exit code.
pub fn refuse(service: &str, problem: impl Display, exit: Exit) -> ExitCode {
    // With nobody to read it, the exit code still tells.
    drop(writeln!(io::stderr(), "{service}: {problem}"));
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_file_can_hold_a_prompt() {
        harden().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert!(!prctl::get_dumpable().unwrap());
    }
}
