//! The process itself: logs, signals, and what must not outlive it.

use std::{
    fmt::Display,
    future::Future,
    io::{self, Write},
    process::ExitCode,
};

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;

/// Logs go to stderr as one JSON object a line. `level` is a tracing filter such as `info`.
pub fn init_logs(level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| format!("log.level {level:?}: {error}"))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init()
        .map_err(|error| error.to_string())
}

/// Keeps the process's memory out of core files and away from other processes of its user.
pub fn harden() -> io::Result<()> {
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

/// Runs a service to its end on a new runtime: the last line of every `main`.
pub fn block_on<F, S>(service: S) -> ExitCode
where
    S: FnOnce(CancellationToken) -> F,
    F: Future<Output = Exit>,
{
    let run = || -> io::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let exit = runtime.block_on(async { Ok::<_, io::Error>(service(shutdown_on_signals()?).await) });
        // Whatever still blocks in a device call must not hold up the exit code.
        runtime.shutdown_background();
        exit
    };
    run()
        .unwrap_or_else(|error| {
            tracing::error!(%error, "the runtime cannot be started");
            Exit::Config
        })
        .into()
}
