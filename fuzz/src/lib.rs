//! What each target asks of arbitrary bytes, beyond that nothing panics, hangs or eats memory.
//!
//! The genuine evidence is the simulator's, made when a process starts. A target signs what the fuzzer made up wherever it
//! is in form, so that more is asked than whether a signature is right: what may a processor, an authority or a vTPM
//! write, and what does the verifier read in it? The answers are held against readers of this crate, which share no code
//! with the verifier's. Since targets sign by themselves, an input means the same in every process.

mod azure;
pub mod bundle;
pub mod crl;
mod der;
pub mod extension;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../../crates/azure-vtpm/tests/it/world.rs"]
mod guest;
pub mod hcl;
pub mod host_table;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../../crates/launch-measurement/tests/it/image.rs"]
mod image;
mod json;
pub mod launch;
pub mod lease;
mod machine;
#[expect(dead_code, reason = "health-gate's own, which knows more than a stream's messages")]
#[path = "../../crates/health-gate/src/lease.rs"]
mod machine_of_the_lease;
pub mod manifest;
pub mod policy;
pub mod quote;
pub mod report;
pub mod runtime_data;
mod seeds;
pub mod token;
#[expect(dead_code, reason = "shared with the tests")]
#[path = "../../crates/snp-evidence/tests/it/world.rs"]
mod world;
