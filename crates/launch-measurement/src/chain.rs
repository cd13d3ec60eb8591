//! How one page after the other enters the launch digest.

use std::fmt;

use aws_lc_rs::digest::{self, SHA384};

use crate::PAGE;

/// A launch digest, SHA-384: what `MEASUREMENT` of an attestation report holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Measurement(pub(crate) [u8; 48]);

impl Measurement {
    /// The 48 bytes.
    pub fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `PAGE_TYPE` of `SNP_LAUNCH_UPDATE` (AMD 56860, 8.17).
#[derive(Clone, Copy)]
pub(crate) enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

/// The guest context's launch digest, `LD`, as `SNP_LAUNCH_START` leaves it and each page changes it.
#[derive(Clone)]
pub(crate) struct Chain([u8; 48]);

impl Chain {
    pub(crate) fn start() -> Self {
        Self([0; 48])
    }

    pub(crate) fn measurement(&self) -> Measurement {
        Measurement(self.0)
    }

    /// Pages whose contents count: whole ones, as the firmware parser makes sure.
    pub(crate) fn normal(&mut self, start: u64, contents: &[u8]) {
        for (page, address) in contents.chunks(PAGE).zip(addresses(start)) {
            self.add(PageType::Normal, address, &sha384(page));
        }
    }

    /// Pages of which only type and address count: the secure processor or the hypervisor fills them.
    pub(crate) fn empty(&mut self, kind: PageType, start: u64, bytes: usize) {
        for address in addresses(start).take(bytes.div_ceil(PAGE)) {
            self.add(kind, address, &[0; 48]);
        }
    }

    /// The initial state of one vCPU, of which the contents' digest is given since most vCPUs share it.
    pub(crate) fn vmsa(&mut self, contents: &[u8; 48]) {
        self.add(PageType::Vmsa, VMSA_ADDRESS, contents);
    }

    /// `LD` becomes SHA-384 of the structure `PAGE_INFO` (AMD 56860, 8.17.2).
    fn add(&mut self, kind: PageType, address: u64, contents: &[u8; 48]) {
        let mut info = Vec::with_capacity(PAGE_INFO_SIZE.into());
        info.extend_from_slice(&self.0);
        info.extend_from_slice(contents);
        info.extend_from_slice(&PAGE_INFO_SIZE.to_le_bytes());
        // IMI_PAGE and the permissions of VMPL 3, 2 and 1 are zero: no migration image, all for VMPL 0.
        info.extend_from_slice(&[kind as u8, 0, 0, 0, 0, 0]);
        info.extend_from_slice(&address.to_le_bytes());
        self.0 = sha384(&info);
    }
}

pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    let mut out = [0; 48];
    out.copy_from_slice(digest::digest(&SHA384, bytes).as_ref());
    out
}

fn addresses(start: u64) -> impl Iterator<Item = u64> {
    (start..).step_by(PAGE)
}

const PAGE_INFO_SIZE: u16 = 0x70;

/// KVM gives VMSA pages the highest page address of the 48 bits that count.
const VMSA_ADDRESS: u64 = 0xFFFF_FFFF_F000;
