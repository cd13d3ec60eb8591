//! Figures for an image of our own, computed with sev-snp-measure 0.0.13 over the same bytes.

use launch_measurement::{Firmware, Kernel, Launch, Vcpu, Vmm, sha256};

use crate::image::Image;

/// Hypervisor, vCPU, number of vCPUs, whether a kernel is given, measurement.
#[rustfmt::skip]
const FIGURES: &[(Vmm, &str, u32, bool, &str)] = &[
    (Vmm::Qemu, "EPYC-v4", 1, true, "be27cd225677c92dd3d3a3dae8c1eab03108e4bd861d5d454a823743de34129b3ff42ab6b28b8de3655ab27187191e60"),
    (Vmm::Qemu, "EPYC-Milan", 3, true, "fb28bff1d9172214c4b002f497888de0c7a3ab4788a5877239cf0b7713cb0b2b977008b37bcf8c85fde97aca3c1bb523"),
    (Vmm::Qemu, "EPYC-Turin", 2, false, "c28bf2ba4427fdaf4c0e73ecfa8e96116b5dcb787691eb38bbe5e7c3c83388db3606ac393bea33c5f4d2202934f041ff"),
    (Vmm::Qemu, "EPYC-Rome-v2", 64, true, "78ba14954a2fc25798bba454b9898d0a5f389603b838eb0c5570416b7992438e7a9791875a456c0527bc4151807b2770"),
    (Vmm::Ec2, "EPYC-v4", 1, true, "286eaf90f3fbfe1a1c4b0e1ee9452c7501d33a5a2db7537256942c69944a939fa488e1feb416a281d438cf1901676338"),
    (Vmm::Ec2, "EPYC-Milan", 3, true, "51ec85b549b644e807f5fbd506640c8e1db3040e18ff01290089a56277e6b36cfd1a55d9e994214287f47679e2ee117f"),
    (Vmm::Ec2, "EPYC-Turin", 2, false, "eb812e6e6aa31c5eeb244d6593d73a6365b56d5eadd74950009623c0f49a893296cef8f3f9f6ba0b2c69f4a158aeca52"),
    (Vmm::Ec2, "EPYC-Rome-v2", 64, true, "fcc1af9b059a28a592323c90f686e235c5652547929f37f7d49cc90f0f296db125a1006ab18066fddfd7f639844fa5b4"),
    (Vmm::Gce, "EPYC-v4", 1, true, "41aac0545aec306a11ed131d2141e10f3d6a32dcc08652a7558cbbbb2cdf8909e73ccdb7884691becf90f045962527d6"),
    (Vmm::Gce, "EPYC-Milan", 3, true, "c48bfba5fa9650bb8afb3e868e4f92eff4031acb3bd3f795f1f3689b1f19b5674b65c191e5d09a21e0a38819a11d7ac3"),
    (Vmm::Gce, "EPYC-Turin", 2, false, "fc0e2ef4d2a418dab5bbff42aea1a8e1989282574229242fc15b8ce045e5be1d21e262b6f63f7b2ef8698c717e7df58e"),
    (Vmm::Gce, "EPYC-Rome-v2", 64, true, "998c46509bc006b86d895881d194b02cdf6946844fd25e0e8db66c0ab1ac7fc4be3bee18cc377dd2c337865efe6a217d"),
];

#[test]
fn another_implementation_comes_to_the_same_figures() {
    let image = Image::new().bytes();
    let digest = hex::encode(sha256(image.as_slice()).unwrap());
    assert_eq!(digest, "5673a3ec14528b51a6facaec899d47195c9a2abfeb475bb08f067f14315cb432", "another image");
    let firmware = Firmware::parse(&image).unwrap();
    let [kernel, initrd] = [b"kernel", b"initrd"].map(|bytes| sha256(bytes.as_slice()).unwrap());
    let hashes = Kernel::new(kernel, initrd, "console=ttyS0 ro");
    for (vmm, vcpu, count, with_kernel, figure) in FIGURES {
        let launch = Launch {
            firmware: &firmware,
            kernel: with_kernel.then_some(&hashes),
            vcpu: Vcpu::named(vcpu).unwrap(),
            guest_features: 0x21,
            vmm: *vmm,
        };
        assert_eq!(launch.measure(&[*count]).unwrap()[0].to_string(), *figure, "{vmm:?} {vcpu} {count}");
    }
}
