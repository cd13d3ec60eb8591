//! The verifier from outside: real evidence, forged evidence, damaged evidence, bundles, published vectors.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod arbitrary;
mod bits;
mod bundle_schema;
mod bundles;
mod endorsement;
mod forged;
mod forgeries;
mod policies;
mod products;
mod real;
mod roots;
mod schema;
mod spec;
mod statements;
mod support;
mod vectors;
mod vouching;
mod world;
