//! The first process of the measured image (`docs/deploy/cvm.md`). It is all of userspace that is not a service: no shell, no
//! login, no package manager.
//!
//! Flow: `mounts` → `modules` → `cmdline` (what the measurement covers) → `disks` (dm-verity by root hash) → `services`, each as
//! its own user → `network`, when the gateway says that it serves.
//!
//! Failure: what cannot be done as it was measured stops the machine, with one line on the console. A service that ends is
//! started again, unless its exit code says that it never could serve here.

mod cmdline;
mod config;
mod disks;
mod modules;
mod mounts;
mod network;
mod services;

use std::{convert::Infallible, path::Path, process::ExitCode, thread::sleep, time::Duration};

use nix::sys::reboot::{RebootMode, reboot};

use crate::{cmdline::CommandLine, config::Config};

/// Why the machine stops.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {why}")]
pub(crate) struct Stop {
    doing: String,
    why: String,
}

/// What was being done when something failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T, Stop>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, Stop> {
        self.map_err(|error| Stop { doing: what.into(), why: error.to_string() })
    }
}

/// A line on the console.
#[expect(clippy::print_stderr, reason = "the console is all there is")]
pub(crate) fn say(line: &str) {
    eprintln!("cvm-init: {line}");
}

fn main() -> ExitCode {
    // On a machine that is not such an image it would do what only the first process may.
    if std::process::id() != 1 {
        say(concat!(
            env!("CARGO_PKG_VERSION"),
            ", the first process of the measured image, and nothing else"
        ));
        return ExitCode::from(u8::from(!std::env::args().any(|argument| argument == "--version")) * 2);
    }
    let Err(stop) = run();
    halt(&stop.to_string())
}

/// Ends when the machine does.
fn run() -> Result<Infallible, Stop> {
    mounts::mount()?;
    modules::load(Path::new("/lib/modules"))?;
    mounts::configfs();
    let measured = CommandLine::of_the_kernel()?;
    let config = Config::read(Path::new("/etc/cube/init.toml"))?;
    for disk in &measured.disks {
        disks::open(disk)?;
    }
    network::loopback()?;
    services::run(config, measured.network)
}

/// Says why, and switches the machine off.
pub(crate) fn halt(why: &str) -> ! {
    say(&format!("stopping: {why}"));
    loop {
        // The line has to reach the console; and a machine that cannot be switched off serves nothing all the same.
        sleep(Duration::from_millis(200));
        let Err(error) = reboot(RebootMode::RB_POWER_OFF);
        say(&format!("cannot be switched off: {error}"));
    }
}
