//! No image makes the parser panic or run on.

use launch_measurement::{Firmware, Launch, Vcpu, Vmm};
use proptest::{collection::vec, prelude::*};

use crate::image::{FOOTER, HASHES, Image, METADATA, RESET};

/// Whatever the parser takes can also be measured.
fn run(image: &[u8]) {
    if let Ok(firmware) = Firmware::parse(image) {
        for vmm in [Vmm::Qemu, Vmm::Ec2, Vmm::Gce] {
            let vcpu = Vcpu::with_signature(u32::MAX);
            let launch = Launch { firmware: &firmware, kernel: None, vcpu, guest_features: u64::MAX, vmm };
            drop(launch.measure(&[1]));
        }
    }
}

/// Blocks of any size, among them those that the parser looks for.
fn block() -> impl Strategy<Value = ([u8; 16], Vec<u8>)> {
    let known = prop::sample::select(vec![METADATA, HASHES, RESET, FOOTER]);
    (prop_oneof![known, any::<[u8; 16]>()], vec(any::<u8>(), 0..32))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(mut image in vec(any::<u8>(), 4096), ends_well in any::<bool>()) {
        if ends_well {
            image[4096 - 48..4096 - 32].copy_from_slice(&FOOTER);
        }
        run(&image);
        run(&image[1..]);
    }

    #[test]
    fn damaged_images_never_panic(edits in vec((0_usize..0x900, any::<u8>()), 1..6)) {
        let mut image = Image::new().bytes();
        let length = image.len();
        for (from_end, value) in edits {
            image[length - 1 - from_end] = value;
        }
        run(&image);
    }

    #[test]
    fn arbitrary_tables_never_panic(blocks in vec(block(), 0..8), sections in vec(any::<[u32; 3]>(), 0..8)) {
        // Whole pages of known types come far; the rest stops at once.
        let tamed = sections.iter().map(|[address, size, kind]| [address & !0xFFF, size & 0x00FF_F000, kind % 5]);
        run(&Image { blocks, ..Image::new() }.bytes());
        run(&Image { sections: sections.clone(), ..Image::new() }.bytes());
        run(&Image { sections: tamed.collect(), ..Image::new() }.bytes());
    }
}
