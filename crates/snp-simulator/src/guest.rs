//! The guest that a report speaks of, and the signed part of its report.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{ChipSpec, Product, SigningKey, SimError, Tcb, layout, stored::hex_bytes};

/// Version of the report structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReportVersion {
    /// Without CPUID.
    V2 = 2,
    /// With CPUID.
    V3 = 3,
    /// The same fields as version 3.
    V4 = 4,
    /// With mitigation vectors.
    V5 = 5,
}

/// Version of the SNP firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareVersion {
    /// Major part of the API version.
    pub major: u8,
    /// Minor part of the API version.
    pub minor: u8,
    /// Build number.
    pub build: u8,
}

/// Everything a report says of the guest and of the state of its host, free to be set.
///
/// The default is a guest that a strict policy accepts: no debugging, no migration agent, firmware committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guest {
    /// Which form of report the firmware writes.
    pub version: ReportVersion,
    /// `GUEST_SVN`.
    pub guest_svn: u32,
    /// `POLICY`; bit 16 allows SMT, bit 17 is one, bit 18 a migration agent, bit 19 debugging.
    pub policy: u64,
    /// `FAMILY_ID`.
    #[serde(with = "hex_bytes")]
    pub family_id: [u8; 16],
    /// `IMAGE_ID`.
    #[serde(with = "hex_bytes")]
    pub image_id: [u8; 16],
    /// `VMPL`.
    pub vmpl: u32,
    /// `SIGNATURE_ALGO`.
    pub signature_algo: u32,
    /// `PLATFORM_INFO`.
    pub platform_info: u64,
    /// The whole of `KEY_INFO`; when absent, what the processor's key and the author key imply.
    pub key_info: Option<u32>,
    /// Whether the host hides `CHIP_ID`.
    pub mask_chip_id: bool,
    /// `MEASUREMENT`.
    #[serde(with = "hex_bytes")]
    pub measurement: [u8; 48],
    /// `HOST_DATA`.
    #[serde(with = "hex_bytes")]
    pub host_data: [u8; 32],
    /// `ID_KEY_DIGEST`.
    #[serde(with = "hex_bytes")]
    pub id_key_digest: [u8; 48],
    /// `AUTHOR_KEY_DIGEST`.
    #[serde(with = "hex_bytes")]
    pub author_key_digest: [u8; 48],
    /// `REPORT_ID`.
    #[serde(with = "hex_bytes")]
    pub report_id: [u8; 32],
    /// `REPORT_ID_MA`.
    #[serde(with = "hex_bytes")]
    pub report_id_ma: [u8; 32],
    /// `CURRENT_TCB`; the chip's when absent, like the three below.
    pub current_tcb: Option<Tcb>,
    /// `REPORTED_TCB`.
    pub reported_tcb: Option<Tcb>,
    /// `COMMITTED_TCB`.
    pub committed_tcb: Option<Tcb>,
    /// `LAUNCH_TCB`.
    pub launch_tcb: Option<Tcb>,
    /// Firmware that runs.
    pub current_firmware: FirmwareVersion,
    /// Firmware that cannot be rolled back.
    pub committed_firmware: FirmwareVersion,
    /// `LAUNCH_MIT_VECTOR`; written from version 5.
    pub launch_mit_vector: u64,
    /// `CURRENT_MIT_VECTOR`; written from version 5.
    pub current_mit_vector: u64,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            version: ReportVersion::V5,
            guest_svn: 0,
            policy: 0x3_0000,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            signature_algo: 1,
            // SMT and ECC on, alias check complete: what patched machines in the field say.
            platform_info: 0x25,
            key_info: None,
            mask_chip_id: false,
            measurement: [0; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id: [0x5A; 32],
            report_id_ma: [0xFF; 32],
            current_tcb: None,
            reported_tcb: None,
            committed_tcb: None,
            launch_tcb: None,
            current_firmware: FIRMWARE,
            committed_firmware: FIRMWARE,
            launch_mit_vector: 0,
            current_mit_vector: 0,
        }
    }
}

impl Guest {
    /// The guest as JSON; byte fields are hex.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads a guest; absent members take the default, unknown ones are an error.
    pub fn from_json(text: &str) -> Result<Self, SimError> {
        serde_json::from_str(text).map_err(|why| SimError::Stored { what: "guest", why: why.to_string() })
    }

    /// The signed part of this guest's report on `chip`.
    pub(crate) fn body(
        &self,
        product: Product,
        chip: &ChipSpec,
        key: SigningKey,
        report_data: &[u8; 64],
    ) -> [u8; layout::BODY_LEN] {
        let mut body = Body([0; layout::BODY_LEN]);
        self.write_identity(&mut body, key, report_data);
        self.write_host(&mut body, product, chip);
        body.0
    }

    fn write_identity(&self, body: &mut Body, key: SigningKey, report_data: &[u8; 64]) {
        body.put(layout::VERSION, &(self.version as u32).to_le_bytes());
        body.put(layout::GUEST_SVN, &self.guest_svn.to_le_bytes());
        body.put(layout::POLICY, &self.policy.to_le_bytes());
        body.put(layout::FAMILY_ID, &self.family_id);
        body.put(layout::IMAGE_ID, &self.image_id);
        body.put(layout::VMPL, &self.vmpl.to_le_bytes());
        body.put(layout::SIGNATURE_ALGO, &self.signature_algo.to_le_bytes());
        body.put(
            layout::KEY_INFO,
            &self.key_info.unwrap_or_else(|| self.implied_key_info(key)).to_le_bytes(),
        );
        body.put(layout::REPORT_DATA, report_data);
        body.put(layout::MEASUREMENT, &self.measurement);
        body.put(layout::HOST_DATA, &self.host_data);
        body.put(layout::ID_KEY_DIGEST, &self.id_key_digest);
        body.put(layout::AUTHOR_KEY_DIGEST, &self.author_key_digest);
        body.put(layout::REPORT_ID, &self.report_id);
        body.put(layout::REPORT_ID_MA, &self.report_id_ma);
    }

    fn write_host(&self, body: &mut Body, product: Product, chip: &ChipSpec) {
        let tcb = |own: Option<Tcb>| own.unwrap_or(chip.tcb).to_bytes(product);
        body.put(layout::PLATFORM_INFO, &self.platform_info.to_le_bytes());
        body.put(layout::CURRENT_TCB, &tcb(self.current_tcb));
        body.put(layout::REPORTED_TCB, &tcb(self.reported_tcb));
        body.put(layout::COMMITTED_TCB, &tcb(self.committed_tcb));
        body.put(layout::LAUNCH_TCB, &tcb(self.launch_tcb));
        body.put(layout::CURRENT_FIRMWARE, &self.current_firmware.to_bytes());
        body.put(layout::COMMITTED_FIRMWARE, &self.committed_firmware.to_bytes());
        if !self.mask_chip_id {
            body.put(layout::CHIP_ID, &chip.chip_id);
        }
        if self.version >= ReportVersion::V3 {
            body.put(layout::CPUID, &[chip.cpuid.family, chip.cpuid.model, chip.cpuid.stepping]);
        }
        if self.version >= ReportVersion::V5 {
            body.put(layout::LAUNCH_MIT_VECTOR, &self.launch_mit_vector.to_le_bytes());
            body.put(layout::CURRENT_MIT_VECTOR, &self.current_mit_vector.to_le_bytes());
        }
    }

    fn implied_key_info(&self, key: SigningKey) -> u32 {
        let signing_key = match key {
            SigningKey::Vcek => 0,
            SigningKey::Vlek => 1,
        };
        signing_key << 2 | u32::from(self.author_key_digest != [0; 48])
    }
}

impl FirmwareVersion {
    const fn to_bytes(self) -> [u8; 3] {
        [self.build, self.minor, self.major]
    }
}

/// A current production firmware.
const FIRMWARE: FirmwareVersion = FirmwareVersion { major: 1, minor: 55, build: 61 };

struct Body([u8; layout::BODY_LEN]);

impl Body {
    fn put(&mut self, field: Range<usize>, value: &[u8]) {
        for (slot, byte) in self.0.get_mut(field).into_iter().flatten().zip(value) {
            *slot = *byte;
        }
    }
}
