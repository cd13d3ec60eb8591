//! A firmware image: what can be read is measured in bounded time, and another byte is another measurement.

use launch_measurement::{Firmware, Kernel, Launch, Measurement, Vcpu, Vmm};

use crate::{
    image::{Image, METADATA},
    machine::somewhere,
    seeds,
};

const PAGE: usize = 4096;

pub fn seed() {
    let images = [Image::new(), Image::new().without(METADATA)].map(|image| image.bytes());
    let tails = ["ovmf_AmdSev_suffix.bin", "ovmf_OvmfX64_suffix.bin"].into_iter().flat_map(seeds::captured);
    seeds::write(
        images.into_iter().chain(tails.map(|tail| tail[tail.len().saturating_sub(PAGE)..].to_vec())),
    );
}

pub fn run(data: &[u8]) {
    if data.is_empty() {
        return;
    }
    // The tables stand at the end, and images are whole pages.
    let mut image = vec![0; data.len().div_ceil(PAGE) * PAGE - data.len()];
    image.extend(data);
    for vmm in [Vmm::Qemu, Vmm::Ec2, Vmm::Gce] {
        let Some(measured) = measure(&image, vmm) else { continue };
        assert_eq!(measured.len(), 2);
        let mut other = image.clone();
        let at = somewhere(data, other.len());
        other[at] ^= 1 << (at % 8);
        assert_ne!(measure(&other, vmm).as_ref(), Some(&measured), "byte {at:#x} is not measured");
    }
}

fn measure(image: &[u8], vmm: Vmm) -> Option<Vec<Measurement>> {
    let firmware = Firmware::parse(image).ok()?;
    let kernel = Kernel::new([1; 32], [2; 32], "console=ttyS0");
    let vcpu = Vcpu::named("EPYC-v4").unwrap();
    let launch = |kernel| Launch { firmware: &firmware, kernel, vcpu, guest_features: 1, vmm };
    launch(Some(&kernel)).measure(&[1, 2]).or_else(|_| launch(None).measure(&[1, 2])).ok()
}
