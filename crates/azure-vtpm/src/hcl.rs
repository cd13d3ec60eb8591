//! The paravisor's report, `IGVM_ATTEST_REQUEST` in Microsoft's OpenHCL (`openhcl_attestation_protocol::igvm_attest`).
//!
//! ```text
//! 0x000  signature "HCLA", version, report size, request type, status, 3 reserved: u32 each, little-endian
//! 0x020  SNP report, 1184 bytes
//! 0x4C0  data size, version, report type, hash type, runtime data size: u32 each
//!        with data version 2: capabilities, u32, unmeasured
//!        runtime data; then zeros to the end of the NV index
//! ```
//!
//! Nobody signs the header. What it says is held to what genuine reports say, so that no byte is without meaning.

use crate::reader::{Reader, Short};

const SIGNATURE: [u8; 4] = *b"HCLA";
const HEADER_SIZE: u32 = 32;
const SNP_REPORT_SIZE: u32 = 1184;
const DATA_HEADER_SIZE: u32 = 20;
const CAPABILITIES_SIZE: u32 = 4;

/// The request for a certificate of the vTPM's key: the one kind whose runtime data name that key.
const AK_CERT_REQUEST: u32 = 2;

/// Whether these bytes begin as a paravisor's report does.
pub fn is_hcl_report(bytes: &[u8]) -> bool {
    bytes.starts_with(&SIGNATURE)
}

/// The SNP report inside a paravisor's report, unjudged; nothing where the bytes are too few.
pub fn snp_report(bytes: &[u8]) -> Option<&[u8]> {
    HclReport::parse(bytes).ok().map(|report| report.snp_report)
}

/// A paravisor's report, cut into its parts; nothing is judged.
pub(crate) struct HclReport<'a> {
    signature: [u8; 4],
    version: u32,
    report_size: u32,
    request_type: u32,
    status: u32,
    reserved: [u8; 12],
    pub(crate) snp_report: &'a [u8],
    data_size: u32,
    data_version: u32,
    pub(crate) report_type: u32,
    pub(crate) hash_type: u32,
    pub(crate) runtime_data: &'a [u8],
    rest: &'a [u8],
}

impl<'a> HclReport<'a> {
    /// The order of these fields is the layout.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Short> {
        let mut r = Reader(bytes);
        let (signature, version) = (r.array("signature")?, r.le32("version")?);
        let (report_size, request_type) = (r.le32("report size")?, r.le32("request type")?);
        let (status, reserved) = (r.le32("status")?, r.array("reserved bytes")?);
        let snp_report = r.bytes(SNP_REPORT_SIZE as usize, "SNP report")?;
        let (data_size, data_version) = (r.le32("data size")?, r.le32("data version")?);
        let (report_type, hash_type) = (r.le32("report type")?, r.le32("hash type")?);
        let length = r.le32("runtime data size")?;
        r.bytes(capabilities_size(data_version) as usize, "capabilities")?;
        let runtime_data = r.bytes(usize::try_from(length).unwrap_or(usize::MAX), "runtime data")?;
        Ok(Self {
            signature,
            version,
            report_size,
            request_type,
            status,
            reserved,
            snp_report,
            data_size,
            data_version,
            report_type,
            hash_type,
            runtime_data,
            rest: r.0,
        })
    }

    /// What no genuine report has, if anything.
    pub(crate) fn flaw(&self) -> Option<String> {
        let data = u32::try_from(self.runtime_data.len()).unwrap_or(u32::MAX);
        let data = data.saturating_add(DATA_HEADER_SIZE).saturating_add(capabilities_size(self.data_version));
        let whole = data.saturating_add(HEADER_SIZE + SNP_REPORT_SIZE);
        let fields: [(&str, u32, &[u32]); 6] = [
            ("version", self.version, &[1, 2]),
            ("report size", self.report_size, &[whole]),
            ("request type", self.request_type, &[AK_CERT_REQUEST]),
            ("status", self.status, &[0]),
            ("data size", self.data_size, &[data]),
            ("data version", self.data_version, &[1, 2]),
        ];
        if self.signature != SIGNATURE {
            return Some("another signature".to_owned());
        }
        if self.reserved != [0; 12] || self.rest.iter().any(|byte| *byte != 0) {
            return Some("reserved bytes or the end are not zero".to_owned());
        }
        let wrong = fields.into_iter().find(|(_, found, wanted)| !wanted.contains(found));
        wrong.map(|(name, found, _)| format!("{name} {found}"))
    }

    /// Header version, for people.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// `VMPL` of the SNP report (AMD 56860, `ATTESTATION_REPORT`), as its bytes say.
    pub(crate) fn vmpl(&self) -> Option<u32> {
        let (_, from) = self.snp_report.split_at_checked(0x30)?;
        from.first_chunk().map(|field| u32::from_le_bytes(*field))
    }
}

fn capabilities_size(data_version: u32) -> u32 {
    if data_version == 2 { CAPABILITIES_SIZE } else { 0 }
}
