//! Real evidence, forged evidence, damaged evidence. Inside the crate, so that a check can be left out to show what it
//! is for.

mod arbitrary;
mod bits;
mod forged;
mod real;
mod world;
