//! The three services on simulated hardware, as real processes.
//!
//! Three small mains (`src/bin`) run the very libraries that are shipped, and pass
//! the simulator's chip and roots where the shipped mains pass the device and
//! AMD's. [`prepare`] writes one run's folder: a new simulated machine under a new
//! root that lives 24 hours, policies, and a configuration per service. [`Stack`]
//! starts, stops and kills the processes. `dev-stack demo` shows the whole.

mod args;
pub mod demo;
mod files;
mod platform;
mod prepare;
mod process;

pub use args::{MachineArgs, RootArgs, load_roots};
pub use files::{Files, Service};
pub use platform::SimulatedPlatform;
pub use prepare::{Options, new_root, prepare};
pub use process::Stack;
