//! The three services on simulated hardware, as real processes.
//!
//! Three small mains (`src/bin`) run the very libraries that are shipped, and pass
//! the simulator's chip and roots where the shipped mains pass the device and
//! AMD's. [`prepare`] writes one run's folder: a new simulated machine under a new
//! root that lives 24 hours, policies, and a configuration per service. [`Stack`]
//! starts, stops and kills the processes. `dev-stack demo` shows the whole.

pub mod demo;
mod files;
mod platform;
mod prepare;
mod process;
mod service;

pub use files::{Files, Role};
pub use platform::SimulatedPlatform;
pub use prepare::{Options, new_root, prepare};
pub use process::{LogLine, Stack};
pub use service::{MachineArgs, RootArgs, load_roots};
