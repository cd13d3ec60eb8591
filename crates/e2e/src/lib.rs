//! End-to-end tests with real processes, and benchmarks of the same (`examples`).

pub mod bench;
pub mod conformance;
pub mod fake_backend;
