//! The verifier from outside: real evidence, forged evidence, damaged evidence.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod arbitrary;
mod bits;
mod forged;
mod forgeries;
mod real;
mod spec;
mod world;
