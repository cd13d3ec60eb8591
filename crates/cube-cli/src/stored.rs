//! A stored report and its folder of certificates.

use std::path::Path;

use rustls_pki_types::{CertificateDer, pem::PemObject};
use snp_evidence::{Endorsements, Evidence, EvidenceFormat, Vek};

use crate::{failure::Failure, input};

/// Reads the report and what the folder holds; what is missing is for the verdict to say.
pub(crate) fn evidence(report: &Path, certs: &Path, format: EvidenceFormat) -> Result<Evidence, Failure> {
    if !certs.is_dir() {
        return Err(Failure::Usage(format!("{} is no folder", certs.display())));
    }
    let endorsements = Endorsements {
        vek: vek(certs)?,
        ask: pem(certs, "ask.pem")?,
        asvk: pem(certs, "asvk.pem")?,
        ark: pem(certs, "ark.pem")?,
        crl: der(certs, "crl.der")?,
    };
    Ok(Evidence { format, report: input::file(report)?, endorsements })
}

fn vek(certs: &Path) -> Result<Option<Vek>, Failure> {
    match (der(certs, "vcek.der")?, der(certs, "vlek.der")?) {
        (Some(_), Some(_)) => {
            Err(Failure::Usage(format!("{} holds both vcek.der and vlek.der", certs.display())))
        }
        (of_chip, loaded) => Ok(of_chip.map(Vek::Vcek).or(loaded.map(Vek::Vlek))),
    }
}

fn der(certs: &Path, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let path = certs.join(name);
    // A link that leads nowhere is an error, not an absent file.
    if path.symlink_metadata().is_err() { Ok(None) } else { input::file(&path).map(Some) }
}

fn pem(certs: &Path, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let Some(text) = der(certs, name)? else { return Ok(None) };
    let broken = |e| Failure::Usage(format!("{}: {e}", certs.join(name).display()));
    CertificateDer::from_pem_slice(&text).map(|der| Some(der.to_vec())).map_err(broken)
}
