//! The verifier from outside: real evidence, forged evidence, damaged evidence, bundles, published vectors.

mod arbitrary;
mod bits;
mod bundles;
mod forged;
mod policies;
mod real;
mod support;
mod vectors;
mod world;
