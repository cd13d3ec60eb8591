//! What a device's answer has to be before it is passed on, whichever device gave it.
//!
//! These checks tell the operator at the device what is wrong with it. They prove nothing: what a report is worth,
//! its `report_data` included, `snp-evidence` decides from the same bytes.

use snp_evidence::{Endorsements, Evidence, EvidenceFormat};

use crate::{PlatformError, endorsements_from_table};

/// Length of an ATTESTATION_REPORT (AMD document 56860).
pub(crate) const REPORT_LEN: usize = 1184;
/// What both devices speak for.
pub(crate) const FORMAT: EvidenceFormat = EvidenceFormat::AmdSevSnp;

/// The evidence in an answer from `place`, which was asked for a report over `report_data`.
pub(crate) fn evidence(
    place: &str,
    report_data: &[u8; 64],
    report: Vec<u8>,
    table: &[u8],
) -> Result<Evidence, PlatformError> {
    if report.len() != REPORT_LEN {
        let problem = format!("{place} holds {} bytes where a report has {REPORT_LEN}", report.len());
        return Err(PlatformError::Malformed(problem));
    }
    // REPORT_DATA is at 0x50.
    if report.get(0x50..0x90) != Some(report_data) {
        return Err(PlatformError::OtherReportData { place: place.to_owned() });
    }
    let endorsements = readable_endorsements(table, signed_by_loaded_key(&report));
    Ok(Evidence { format: FORMAT, report, endorsements })
}

/// An unreadable table is as good as none: the certificates may come from elsewhere, and where they do not,
/// verification says so.
fn readable_endorsements(table: &[u8], loaded_key: bool) -> Endorsements {
    endorsements_from_table(table, loaded_key).unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's certificate table is ignored");
        Endorsements::default()
    })
}

/// `SIGNING_KEY`, bits 2 to 4 of the u32 at 0x48 (AMD document 56860): 1 is the VLEK. Only picks which certificate
/// travels along; verification reads it anew.
fn signed_by_loaded_key(report: &[u8]) -> bool {
    report.get(0x48).is_some_and(|flags| (flags >> 2) & 7 == 1)
}
