//! The extended report request of the guest device (Linux `include/uapi/linux/sev-guest.h`).
//!
//! The kernel is told where three buffers lie and how long the third one is, and
//! writes to no other place. What the host has put into them is bytes, read with bounds by whoever reads them.
#![expect(unsafe_code, reason = "an ioctl that takes addresses; ADR 3")]

use std::{fs::File, io, os::fd::AsRawFd};

/// One request with room for its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) request: ReportRequest,
    /// MSG_REPORT_RSP (AMD document 56860).
    pub(crate) response: Box<[u8; RESPONSE_LEN]>,
    /// The certificate table (AMD document 56421), then zeros.
    pub(crate) table: Box<[u8; TABLE_LEN as usize]>,
    pub(crate) errors: ExitInfo,
}

/// `exitinfo2`: what went wrong outside of the guest.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct ExitInfo {
    /// 0xff marks a request that has not left the guest.
    pub(crate) firmware: u32,
    pub(crate) hypervisor: u32,
}

impl Exchange {
    pub(crate) fn new(report_data: &[u8; 64], vmpl: u32) -> Self {
        Self {
            request: ReportRequest { report_data: *report_data, vmpl, reserved: [0; 28] },
            response: Box::new([0; RESPONSE_LEN]),
            table: Box::new([0; TABLE_LEN as usize]),
            errors: ExitInfo::default(),
        }
    }
}

/// `struct snp_report_req`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct ReportRequest {
    pub(crate) report_data: [u8; 64],
    /// At least that of the guest.
    pub(crate) vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_ext_report_req`.
#[repr(C)]
struct ExtendedRequest {
    report: ReportRequest,
    table: u64,
    table_len: u32,
    padding: u32,
}

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
pub(crate) struct GuestRequest {
    /// Of one byte, and then padding.
    message_version: u64,
    request: u64,
    response: u64,
    errors: ExitInfo,
}

nix::ioctl_readwrite!(
    /// `SNP_GET_EXT_REPORT`.
    snp_get_ext_report,
    b'S',
    0x2,
    GuestRequest
);

/// Asks `device` for a report and the host's certificate table.
pub(crate) fn extended_report(device: &File, exchange: &mut Exchange) -> io::Result<()> {
    // SAFETY: `issue` calls this with the address of a `GuestRequest` whose addresses are those of live buffers of
    // the lengths that the interface fixes or is told, that nothing else refers to until the call is over.
    issue(exchange, |call| unsafe { snp_get_ext_report(device.as_raw_fd(), call) })
}

/// Lays the addresses of `exchange` out as the kernel reads them, for one `ioctl`.
fn issue(
    exchange: &mut Exchange,
    ioctl: impl FnOnce(*mut GuestRequest) -> nix::Result<i32>,
) -> io::Result<()> {
    let mut request = ExtendedRequest {
        report: exchange.request,
        table: address(exchange.table.as_mut()),
        table_len: TABLE_LEN,
        padding: 0,
    };
    let mut call = GuestRequest {
        message_version: 1,
        request: address(&mut request),
        response: address(exchange.response.as_mut()),
        errors: ExitInfo::default(),
    };
    let answer = ioctl(&raw mut call);
    exchange.errors = call.errors;
    Ok(answer.map(drop)?)
}

/// Where the kernel finds `buffer`.
fn address<T>(buffer: &mut T) -> u64 {
    (&raw mut *buffer).expose_provenance() as u64
}

/// `struct snp_report_resp`.
pub(crate) const RESPONSE_LEN: usize = 4000;
/// The most that the kernel takes (`SEV_FW_BLOB_MAX_SIZE`), so that no size needs to be asked for first.
pub(crate) const TABLE_LEN: u32 = 16 * 1024;

const _: () = {
    assert!(size_of::<GuestRequest>() == 32);
    assert!(size_of::<ReportRequest>() == 96);
    assert!(size_of::<ExtendedRequest>() == 112);
    assert!(std::mem::offset_of!(ExtendedRequest, table) == 96);
    assert!(cfg!(target_endian = "little"));
};

#[cfg(test)]
mod tests {
    use std::{ptr, slice};

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn the_kernel_finds_the_request_and_room_for_its_answer() {
        let mut exchange = Exchange::new(&[7; 64], 2);
        let answer = issue(&mut exchange, |call| {
            // SAFETY: what the kernel does: it reads the call and the request, and writes to both buffers.
            unsafe {
                let call = call.cast::<[u64; 4]>();
                let [version, request, response, _] = *call;
                assert_eq!(version.to_le_bytes(), [1, 0, 0, 0, 0, 0, 0, 0]);
                let request = slice::from_raw_parts(at(request), 112);
                assert_eq!(request[..64], [7; 64]);
                assert_eq!(request[64..68], [2, 0, 0, 0]);
                assert_eq!(request[68..96], [0; 28]);
                assert_eq!(request[104..108], [0, 0x40, 0, 0]);
                let table = u64::from_le_bytes(request[96..104].try_into().unwrap());
                slice::from_raw_parts_mut(at(response), 4000).fill(3);
                slice::from_raw_parts_mut(at(table), 16 * 1024).fill(4);
                (*call)[3] = 2 << 32 | 0xff;
            }
            Ok(0)
        });
        answer.unwrap();
        assert_eq!(*exchange.response, [3; 4000]);
        assert_eq!(*exchange.table, [4; 16 * 1024]);
        assert_eq!((exchange.errors.firmware, exchange.errors.hypervisor), (0xff, 2));
    }

    fn at(address: u64) -> *mut u8 {
        ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap())
    }

    #[test]
    fn a_file_that_is_no_guest_device_refuses_the_ioctl() {
        let null = File::open("/dev/null").unwrap();
        let error = extended_report(&null, &mut Exchange::new(&[0; 64], 0)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENOTTY as i32));
    }

    #[test]
    fn the_request_has_the_number_that_linux_gives_it() {
        assert_eq!(nix::request_code_readwrite!(b'S', 0x2, size_of::<GuestRequest>()), 0xc020_5302);
    }
}
