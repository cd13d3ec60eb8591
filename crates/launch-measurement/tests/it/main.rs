//! The crate from outside: figures that other programs computed, damaged images, arbitrary images.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod arbitrary;
mod figures;
mod image;
mod malformed;
mod vectors;
