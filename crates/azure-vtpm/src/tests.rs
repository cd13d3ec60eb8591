//! Real evidence, forged evidence, damaged evidence. Inside the crate for its readers' sake: they tell what damaged
//! bytes still say.

mod arbitrary;
mod bits;
mod forged;
mod real;
mod world;
