//! Where each field of an attestation report stands.
//!
//! Source: AMD document 56860, "SEV Secure Nested Paging Firmware ABI Specification", table `ATTESTATION_REPORT`
//! (revision 1.58 for version 5) and the section on ECDSA P-384 signature format. All integers are little-endian.
//! Every byte that no constant covers is reserved and zero.

use std::ops::Range;

/// Length of the whole report.
pub const REPORT_LEN: usize = 0x4A0;
/// Length of the signed part; the signature follows it.
pub const BODY_LEN: usize = 0x2A0;

/// `VERSION`, u32.
pub const VERSION: Range<usize> = 0x000..0x004;
/// `GUEST_SVN`, u32, from the ID block.
pub const GUEST_SVN: Range<usize> = 0x004..0x008;
/// `POLICY`, u64, guest policy given at launch.
pub const POLICY: Range<usize> = 0x008..0x010;
/// `FAMILY_ID`, from the ID block.
pub const FAMILY_ID: Range<usize> = 0x010..0x020;
/// `IMAGE_ID`, from the ID block.
pub const IMAGE_ID: Range<usize> = 0x020..0x030;
/// `VMPL`, u32, that the request named.
pub const VMPL: Range<usize> = 0x030..0x034;
/// `SIGNATURE_ALGO`, u32; 1 is ECDSA P-384 with SHA-384.
pub const SIGNATURE_ALGO: Range<usize> = 0x034..0x038;
/// `CURRENT_TCB`, per-product bytes.
pub const CURRENT_TCB: Range<usize> = 0x038..0x040;
/// `PLATFORM_INFO`, u64 of flags.
pub const PLATFORM_INFO: Range<usize> = 0x040..0x048;
/// `AUTHOR_KEY_EN` (bit 0), `MASK_CHIP_KEY` (bit 1), `SIGNING_KEY` (bits 2 to 4), u32.
pub const KEY_INFO: Range<usize> = 0x048..0x04C;
/// `REPORT_DATA`, chosen by the guest.
pub const REPORT_DATA: Range<usize> = 0x050..0x090;
/// `MEASUREMENT`, launch digest.
pub const MEASUREMENT: Range<usize> = 0x090..0x0C0;
/// `HOST_DATA`, chosen by the host at launch.
pub const HOST_DATA: Range<usize> = 0x0C0..0x0E0;
/// `ID_KEY_DIGEST`, SHA-384.
pub const ID_KEY_DIGEST: Range<usize> = 0x0E0..0x110;
/// `AUTHOR_KEY_DIGEST`, SHA-384.
pub const AUTHOR_KEY_DIGEST: Range<usize> = 0x110..0x140;
/// `REPORT_ID` of this guest.
pub const REPORT_ID: Range<usize> = 0x140..0x160;
/// `REPORT_ID_MA` of its migration agent; all ones without one.
pub const REPORT_ID_MA: Range<usize> = 0x160..0x180;
/// `REPORTED_TCB`, the one that the VCEK is derived from.
pub const REPORTED_TCB: Range<usize> = 0x180..0x188;
/// `CPUID_FAM_ID`, `CPUID_MOD_ID`, `CPUID_STEP`; from version 3.
pub const CPUID: Range<usize> = 0x188..0x18B;
/// `CHIP_ID`; Turin uses the first 8 bytes.
pub const CHIP_ID: Range<usize> = 0x1A0..0x1E0;
/// `COMMITTED_TCB`, per-product bytes.
pub const COMMITTED_TCB: Range<usize> = 0x1E0..0x1E8;
/// `CURRENT_BUILD`, `CURRENT_MINOR`, `CURRENT_MAJOR`.
pub const CURRENT_FIRMWARE: Range<usize> = 0x1E8..0x1EB;
/// `COMMITTED_BUILD`, `COMMITTED_MINOR`, `COMMITTED_MAJOR`.
pub const COMMITTED_FIRMWARE: Range<usize> = 0x1EC..0x1EF;
/// `LAUNCH_TCB`, per-product bytes.
pub const LAUNCH_TCB: Range<usize> = 0x1F0..0x1F8;
/// `LAUNCH_MIT_VECTOR`, u64; from version 5.
pub const LAUNCH_MIT_VECTOR: Range<usize> = 0x1F8..0x200;
/// `CURRENT_MIT_VECTOR`, u64; from version 5.
pub const CURRENT_MIT_VECTOR: Range<usize> = 0x200..0x208;
/// R of the signature, little-endian, zero-padded from 48 to 72 bytes.
pub const SIGNATURE_R: Range<usize> = 0x2A0..0x2E8;
/// S of the signature, in the same form.
pub const SIGNATURE_S: Range<usize> = 0x2E8..0x330;
