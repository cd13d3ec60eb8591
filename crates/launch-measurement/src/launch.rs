//! From a description of the launch to its measurements.

use crate::{
    Firmware, Kernel, Measurement, Vcpu, Vmm,
    chain::{Chain, PageType, sha384},
    firmware::{Section, SectionType},
    vmsa::{self, RESET_VECTOR},
};

/// The most vCPUs that KVM gives a guest.
pub const MAX_VCPUS: u32 = 4096;

/// What a guest is launched with.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The firmware image.
    pub firmware: &'a Firmware<'a>,
    /// Kernel, initrd and command line, where the hypervisor boots them directly and hashes them.
    pub kernel: Option<&'a Kernel>,
    /// Kind of vCPU.
    pub vcpu: Vcpu,
    /// `SEV_FEATURES` of each vCPU: bit 0 is SNP itself (AMD 24593, table "VMSA layout").
    pub guest_features: u64,
    /// Hypervisor.
    pub vmm: Vmm,
}

/// Why there is no measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// No vCPU, or more than [`MAX_VCPUS`].
    #[error("{0} vCPUs, need 1 to {MAX_VCPUS}")]
    Vcpus(u32),
    /// A kernel is given, and the firmware has no place for its hashes.
    #[error(
        "it has no place for the hashes of a kernel (no SNP_KERNEL_HASHES section with a table), so it would boot any: \
         leave kernel, initrd and command line out, or use a build of OvmfPkg/AmdSev"
    )]
    NoKernelHashes,
    /// A second vCPU is asked for, and the firmware does not say where it starts.
    #[error(
        "it names no start of further vCPUs (no SEV-ES reset block): measure 1 vCPU, or use a build with SEV-ES"
    )]
    NoResetBlock,
}

impl Launch<'_> {
    /// The measurement for each of these numbers of vCPUs, in their order. What all share is computed once.
    pub fn measure(&self, vcpus: &[u32]) -> Result<Vec<Measurement>, MeasureError> {
        if let Some(wrong) = vcpus.iter().find(|count| !(1..=MAX_VCPUS).contains(*count)) {
            return Err(MeasureError::Vcpus(*wrong));
        }
        let most = vcpus.iter().copied().max().unwrap_or(0);
        let steps = self.with_vcpus(self.before_vcpus()?, most)?;
        let of = |count: &u32| steps.get(usize::try_from(*count).ok()?.checked_sub(1)?).copied();
        Ok(vcpus.iter().filter_map(of).collect())
    }

    /// Firmware image, then the sections in the order of its metadata.
    fn before_vcpus(&self) -> Result<Chain, MeasureError> {
        let mut chain = Chain::start();
        chain.normal(self.firmware.address(), self.firmware.image());
        let hashes = self.kernel_hashes()?;
        for section in self.firmware.sections() {
            self.add_section(&mut chain, section, hashes.as_deref());
        }
        // EC2 makes the CPUID pages only after all the others.
        let late = self.firmware.sections().iter().filter(|section| section.kind == SectionType::Cpuid);
        for section in late.filter(|_| self.vmm == Vmm::Ec2) {
            chain.empty(PageType::Cpuid, section.address.into(), section.size);
        }
        Ok(chain)
    }

    fn add_section(&self, chain: &mut Chain, section: &Section, hashes: Option<&[u8]>) {
        let kind = match section.kind {
            SectionType::Memory if self.vmm == Vmm::Gce => PageType::Unmeasured,
            SectionType::Memory | SectionType::SvsmCallingArea => PageType::Zero,
            SectionType::Secrets => PageType::Secrets,
            SectionType::Cpuid if self.vmm == Vmm::Ec2 => return,
            SectionType::Cpuid => PageType::Cpuid,
            SectionType::KernelHashes => match hashes {
                Some(page) => return chain.normal(section.address.into(), page),
                None => PageType::Zero,
            },
        };
        chain.empty(kind, section.address.into(), section.size);
    }

    fn kernel_hashes(&self) -> Result<Option<Vec<u8>>, MeasureError> {
        let Some(kernel) = self.kernel else { return Ok(None) };
        let offset = self.firmware.kernel_hashes().ok_or(MeasureError::NoKernelHashes)?;
        Ok(Some(kernel.page(offset)))
    }

    /// The digest after each vCPU. All but the first start alike, so that theirs is one page.
    fn with_vcpus(&self, mut chain: Chain, count: u32) -> Result<Vec<Measurement>, MeasureError> {
        let page = |start| sha384(&vmsa::page(self.vmm, self.vcpu, self.guest_features, start));
        let further = match self.firmware.reset_address() {
            Some(start) => page(start),
            None if count > 1 => return Err(MeasureError::NoResetBlock),
            None => [0; 48],
        };
        let pages = std::iter::once(page(RESET_VECTOR)).chain(std::iter::repeat(further));
        let step = |(_, page): (u32, [u8; 48])| {
            chain.vmsa(&page);
            chain.measurement()
        };
        Ok((0..count).zip(pages).map(step).collect())
    }
}
