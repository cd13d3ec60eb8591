//! The process itself: arguments, logs, signals, and what must not outlive it.

use std::{
    fmt::Display,
    future::Future,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser};
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    config::{Configuration, describe_config, load_config},
    exit::Exit,
};

#[derive(Parser)]
#[command(version)]
struct Args {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Report every problem of the configuration, or the class of each key and the digests, and end.
    #[arg(long)]
    check_config: bool,
}

/// The whole `main` of a shipped service: arguments, configuration, logs, memory that stays
/// inside, then `service` until its end. What goes wrong before is said on stderr.
pub fn launch<C: Configuration>(
    name: &'static str,
    about: &'static str,
    service: impl AsyncFnOnce(C, CancellationToken) -> Result<Exit, Exit>,
) -> ExitCode {
    let matches = Args::command().name(name).about(about).get_matches();
    // Clap itself knows how to end on arguments that it cannot use.
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start(&args, service).unwrap_or_else(|(problem, exit)| refuse(name, problem, exit))
}

fn start<C: Configuration>(
    args: &Args,
    service: impl AsyncFnOnce(C, CancellationToken) -> Result<Exit, Exit>,
) -> Result<ExitCode, (String, Exit)> {
    if args.check_config {
        let text = describe_config::<C>(&args.config).map_err(|error| (error.to_string(), error.exit()))?;
        let printed = io::stdout().write_all(text.as_bytes());
        return printed.map(|()| Exit::Clean.into()).map_err(|error| (error.to_string(), Exit::Config));
    }
    let config: C = load_config(&args.config).map_err(|error| (error.to_string(), error.exit()))?;
    init_logs(config.log_level()).map_err(|problem| (problem, Exit::Config))?;
    harden().map_err(|error| (format!("memory cannot be kept to the process: {error}"), Exit::Config))?;
    Ok(block_on(|shutdown| async { service(config, shutdown).await.unwrap_or_else(|exit| exit) }))
}

/// Logs why a service ends before it serves, and gives `exit`.
pub fn ends<E: Display>(exit: Exit) -> impl FnOnce(E) -> Exit {
    move |why| {
        tracing::error!(exit = exit as u8, %why, "not starting");
        exit
    }
}

/// Logs go to stderr as one JSON object a line. `level` is a tracing filter such as `info`.
pub fn init_logs(level: &str) -> Result<(), String> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(log_filter(level)?)
        .with_writer(io::stderr)
        .try_init()
        .map_err(|error| error.to_string())
}

pub(crate) fn log_filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| format!("{level:?} is no filter for logs: {error}"))
}

/// Keeps the process's memory out of core files and away from other processes of its user, and
/// lets it have as many connections as the system allows: at the usual soft limit of 1,024 files,
/// idle clients could keep the lease from being renewed.
pub fn harden() -> io::Result<()> {
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
