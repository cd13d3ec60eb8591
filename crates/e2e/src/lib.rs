//! End-to-end tests with real processes.

pub mod fake_backend;
