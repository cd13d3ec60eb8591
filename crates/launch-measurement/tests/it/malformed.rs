//! Images that are not what they have to be: each error names the place, and what belongs there.

use launch_measurement::{Firmware, Kernel, Launch, MAX_VCPUS, MeasureError, Vcpu, Vmm};

use crate::image::{CPUID, HASHES, Image, KERNEL, MEMORY, METADATA, RESET, SECRETS};

fn refused(image: &[u8]) -> String {
    Firmware::parse(image).map(drop).unwrap_err().to_string()
}

#[test]
fn what_is_no_ovmf_image_is_refused() {
    for (image, words) in [
        (vec![], "whole pages"),
        (vec![0; 4095], "whole pages"),
        (vec![0; 4096], "at offset 0xfd0: found GUID 00000000-"),
    ] {
        let error = refused(&image);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn each_broken_block_is_named() {
    type Break = fn(&mut Vec<u8>);
    let breaks: [(&str, Break); 8] = [
        ("at offset 0x1fce: found table size 17, expected 18 to", |b| b[0x1FCE] = 17),
        ("found 12 bytes before the first block of the table, expected none", |b| b[0x1FCE] -= 10),
        ("found table size 65535", |b| b[0x1FCE..0x1FD0].fill(0xFF)),
        // The reset block stands last: 4 bytes of data, then its header.
        ("at offset 0x1fbc: found block size 17, expected 18 to", |b| b[0x1FBC] = 17),
        ("found block size 65535", |b| b[0x1FBC..0x1FBE].fill(0xFF)),
        ("at offset 0x1800: found [58, 53, 45, 56], expected the signature ASEV", |b| b[0x1800] = b'X'),
        ("at offset 0x1808: found metadata version 2", |b| b[0x1808] = 2),
        ("at offset 0x1818: found section type 0x7, expected type 1", |b| b[0x1818] = 7),
    ];
    for (words, damage) in breaks {
        let mut image = Image::new().bytes();
        damage(&mut image);
        let error = refused(&image);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn each_unsound_table_is_named() {
    let sections = |sections: &[[u32; 3]]| Image { sections: sections.to_vec(), ..Image::new() };
    let twice = || Image { blocks: vec![(RESET, vec![0; 4]), (RESET, vec![0; 4])], ..Image::new() };
    for (image, words) in [
        (Image::new().without(METADATA), "no SEV metadata block"),
        (Image::new().block(METADATA, &[0x2001]), "metadata 8193 bytes before the end"),
        (Image::new().block(METADATA, &[4]), "the end of the image"),
        (Image { surplus: 12, ..Image::new() }, "100 bytes for 6 sections"),
        (twice(), "a second block 00f771de-1a7e-4fcb-890e-68c77e2fb44e"),
        (Image::new().block(RESET, &[]), "a number of 4 bytes"),
        (Image::new().block(HASHES, &[0x80_6C00]), "a number of 4 bytes"),
        (Image::new().block(HASHES, &[0x80_7C00, 0x400]), "inside the page at 0x806000"),
        (Image::new().block(HASHES, &[0x80_6F60, 0x400]), "inside the page at 0x806000"),
        (Image::new().block(HASHES, &[0x80_6C00, 0xA0]), "a kernel hashes table of 160 bytes"),
        (sections(&[[0x80_0001, 0x1000, MEMORY]]), "whole pages"),
        (sections(&[[0x80_0000, 0x1001, MEMORY]]), "whole pages"),
        (sections(&[[0x80_0000, 0, MEMORY]]), "whole pages"),
        (
            sections(&[[0x80_0000, 0x2000, SECRETS]]),
            "0x2000 bytes at 0x800000 for SNP_SECRETS, expected one page",
        ),
        (
            sections(&[[0x80_0000, 0x2000, MEMORY], [0x80_1000, 0x1000, CPUID]]),
            "where another or the image begins",
        ),
        (sections(&[[0xFFFF_E000, 0x1000, MEMORY]]), "where another or the image begins"),
        (sections(&[[0x80_0000, 0x1000, CPUID], [0x90_0000, 0x1000, CPUID]]), "several CPUID sections"),
    ] {
        let error = refused(&image.bytes());
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_kernel_needs_a_place_for_its_hashes_and_further_vcpus_a_start() {
    let measure = |image: &Image, kernel: bool, vcpus: &[u32]| {
        let image = image.bytes();
        let firmware = Firmware::parse(&image).unwrap();
        let hashes = Kernel::new([1; 32], [2; 32], "");
        let kernel = kernel.then_some(&hashes);
        let vcpu = Vcpu::with_signature(1);
        Launch { firmware: &firmware, kernel, vcpu, guest_features: 1, vmm: Vmm::Qemu }.measure(vcpus)
    };
    let mut no_page = Image::new();
    no_page.sections.retain(|section| section[2] != KERNEL);
    for image in [no_page, Image::new().without(HASHES), Image::new().block(HASHES, &[0, 0])] {
        assert_eq!(measure(&image, true, &[1]), Err(MeasureError::NoKernelHashes));
        assert!(measure(&image, false, &[1]).is_ok());
    }
    for image in [Image::new().without(RESET), Image::new().block(RESET, &[0])] {
        assert_eq!(measure(&image, true, &[1, 2]), Err(MeasureError::NoResetBlock));
        assert!(measure(&image, true, &[1]).is_ok());
    }
    for wrong in [0, MAX_VCPUS + 1] {
        assert_eq!(measure(&Image::new(), true, &[1, wrong]), Err(MeasureError::Vcpus(wrong)));
    }
    assert_eq!(measure(&Image::new(), true, &[MAX_VCPUS]).map(|found| found.len()), Ok(1));
    assert_eq!(measure(&Image::new(), true, &[]), Ok(vec![]));
}
