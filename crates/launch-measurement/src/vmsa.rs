//! The page of initial registers that the hypervisor gives each vCPU (AMD 24593, table "VMSA layout").

use crate::{PAGE, Vcpu};

/// Who starts the guest; each begins with slightly different registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmm {
    /// KVM with QEMU.
    Qemu,
    /// AWS EC2. Agrees with one independent implementation only.
    Ec2,
    /// Google Compute Engine. Agrees with one independent implementation only.
    Gce,
}

/// Where the first vCPU starts: the x86 reset vector.
pub(crate) const RESET_VECTOR: u32 = 0xFFFF_FFF0;

/// What differs between hypervisors.
struct Registers {
    code: u16,
    stack: u16,
    task: u16,
    pat: u64,
    rdx: u64,
    mxcsr: u32,
    fcw: u16,
}

/// The page of a vCPU that starts at `start`.
pub(crate) fn page(vmm: Vmm, vcpu: Vcpu, guest_features: u64, start: u32) -> [u8; PAGE] {
    let own = registers(vmm, vcpu, start);
    let mut page = Page([0; PAGE]);
    for (at, attributes) in [(ES, DATA), (SS, own.stack), (DS, DATA), (FS, DATA), (GS, DATA)] {
        page.segment(at, 0, attributes, 0);
    }
    page.segment(CS, 0xF000, own.code, start & 0xFFFF_0000);
    for (at, attributes) in [(GDTR, 0), (LDTR, 0x82), (IDTR, 0), (TR, own.task)] {
        page.segment(at, 0, attributes, 0);
    }
    for (at, value) in [
        (0x0D0, 0x1000),      // EFER: SVME, which KVM keeps set
        (0x148, 0x40),        // CR4: MCE, which KVM keeps set
        (0x158, 0x10),        // CR0: ET
        (0x160, 0x400),       // DR7
        (0x168, 0xFFFF_0FF0), // DR6
        (0x170, 0x2),         // RFLAGS
        (0x178, u64::from(start & 0xFFFF)),
        (0x268, own.pat),
        (0x310, own.rdx),
        (0x3B0, guest_features),
        (0x3E8, 0x1), // XCR0
    ] {
        page.put(at, &value.to_le_bytes());
    }
    page.put(0x408, &own.mxcsr.to_le_bytes());
    page.put(0x410, &own.fcw.to_le_bytes());
    page.0
}

fn registers(vmm: Vmm, vcpu: Vcpu, start: u32) -> Registers {
    let qemu = Registers {
        code: 0x9B,
        stack: DATA,
        task: 0x8B,
        pat: 0x0007_0406_0007_0406,
        rdx: vcpu.signature().into(),
        mxcsr: 0x1F80,
        fcw: 0x37F,
    };
    match vmm {
        Vmm::Qemu => qemu,
        Vmm::Ec2 => {
            // Only a vCPU at the reset vector has an untouched code segment.
            let code = if start == RESET_VECTOR { 0x9A } else { 0x9B };
            Registers { code, stack: 0x92, task: 0x83, rdx: 0x600, mxcsr: 0, fcw: 0, ..qemu }
        }
        Vmm::Gce => Registers { pat: 0x0007_0106, rdx: 0x600, mxcsr: 0, fcw: 0, ..qemu },
    }
}

/// Attributes of a writable data segment that was accessed.
const DATA: u16 = 0x93;

const ES: usize = 0x00;
const CS: usize = 0x10;
const SS: usize = 0x20;
const DS: usize = 0x30;
const FS: usize = 0x40;
const GS: usize = 0x50;
const GDTR: usize = 0x60;
const LDTR: usize = 0x70;
const IDTR: usize = 0x80;
const TR: usize = 0x90;

struct Page([u8; PAGE]);

impl Page {
    fn put(&mut self, at: usize, value: &[u8]) {
        for (slot, byte) in self.0.iter_mut().skip(at).zip(value) {
            *slot = *byte;
        }
    }

    /// Selector, attributes, limit, base; every limit is 64 KiB, as in real mode.
    fn segment(&mut self, at: usize, selector: u16, attributes: u16, base: u32) {
        self.put(at, &selector.to_le_bytes());
        self.put(at + 2, &attributes.to_le_bytes());
        self.put(at + 4, &0xFFFF_u32.to_le_bytes());
        self.put(at + 8, &u64::from(base).to_le_bytes());
    }
}
