//! The built `cube` binary against real evidence, and against gateways that
//! tell the truth, lie, or say nothing.

mod chat;
mod gateway;
mod live;
mod real;
mod tool;
mod world;
