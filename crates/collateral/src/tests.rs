//! Against simulated processors and a key server that throttles, stalls, lies and dies.

mod complete;
mod fake_kds;
mod list;
mod store;
mod vcek;
mod world;
