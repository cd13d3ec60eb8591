//! AMD's certificates and revocation lists for a report.
//!
//! [`complete`] fills from a directory what evidence lacks, for tools: it reads files, turns PEM into DER and puts each
//! item in its place. [`Keeper`] does more, for a service: it looks at what the host offers, at the operator's directory,
//! at a cache on disk and at AMD's key server (`kds.rs`), and keeps the revocation list fresh (`list.rs`). What an item
//! is called, and whether bytes are it, is in `item.rs`.
//!
//! Nothing here is trusted, and nothing is a verdict: an item that is not what its name says is passed over for the next
//! source, and verification judges again whatever is handed on.

mod backoff;
mod cache;
mod config;
mod directory;
mod item;
mod kds;
mod keeper;
mod list;
mod metrics;
mod unavailable;

pub use config::Config;
pub use directory::{CollateralError, MAX_FILE};
pub use keeper::Keeper;
pub use metrics::Metrics;
pub use unavailable::Unavailable;

use std::path::Path;

use snp_evidence::{Endorsements, Evidence, Vek};

use directory::Directory;

/// Fills what `evidence` lacks from `directory`.
///
/// What came with the evidence stays. The directory may hold `vcek.der`, `vlek.der`, `ask.pem`, `asvk.pem`,
/// `ark.pem` and `crl.der`; each may be absent, and each may be PEM or DER whatever its name says.
pub fn complete(evidence: Evidence, directory: Option<&Path>) -> Result<Evidence, CollateralError> {
    let mut have = as_der(evidence.endorsements);
    if let Some(directory) = directory {
        let directory = Directory::open(directory)?;
        if have.vek.is_none() {
            have.vek = endorsement_key(&directory, signed_by_loaded_key(&evidence.report))?;
        }
        for (slot, name) in [
            (&mut have.ask, "ask.pem"),
            (&mut have.asvk, "asvk.pem"),
            (&mut have.ark, "ark.pem"),
            (&mut have.crl, "crl.der"),
        ] {
            if slot.is_none() {
                *slot = directory.read(name)?;
            }
        }
    }
    Ok(Evidence { endorsements: have, ..evidence })
}

/// The kind that the report names, or the other one where only that is there: verification tells the mismatch
/// better than an absence would.
fn endorsement_key(directory: &Directory<'_>, loaded_key: bool) -> Result<Option<Vek>, CollateralError> {
    let of_chip = || Ok(directory.read("vcek.der")?.map(Vek::Vcek));
    let loaded = || Ok(directory.read("vlek.der")?.map(Vek::Vlek));
    if loaded_key {
        return loaded()?.map_or_else(of_chip, |found| Ok(Some(found)));
    }
    of_chip()?.map_or_else(loaded, |found| Ok(Some(found)))
}

/// Some hosts keep PEM in their certificate table. What is neither form stays as it is, to be refused.
fn as_der(given: Endorsements) -> Endorsements {
    let der = |bytes: Vec<u8>| directory::to_der(&bytes).unwrap_or(bytes);
    Endorsements {
        vek: given.vek.map(|vek| match vek {
            Vek::Vcek(bytes) => Vek::Vcek(der(bytes)),
            Vek::Vlek(bytes) => Vek::Vlek(der(bytes)),
        }),
        ask: given.ask.map(der),
        asvk: given.asvk.map(der),
        ark: given.ark.map(der),
        crl: given.crl.map(der),
    }
}

/// `SIGNING_KEY`, bits 2 to 4 of the u32 at 0x48 (AMD document 56860); 1 is the VLEK.
fn signed_by_loaded_key(report: &[u8]) -> bool {
    report.get(0x48).is_some_and(|flags| (flags >> 2) & 7 == 1)
}

#[cfg(test)]
mod tests;
