//! The captured set of figures, which other programs computed.

use std::{fs, path::PathBuf};

use launch_measurement::{Firmware, Kernel, Launch, Measurement, Vcpu, Vmm, sha256};
use serde_json::Value;

/// The folder of figures, if it lies beside the workspace.
fn folder() -> Option<PathBuf> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence/launch-measurement");
    if !folder.join("vectors.json").exists() {
        println!("skipped: ../shared is absent");
        return None;
    }
    Some(folder)
}

fn vectors() -> Option<(PathBuf, Vec<Value>)> {
    let folder = folder()?;
    let vectors = serde_json::from_slice(&fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    Some((folder, vectors))
}

/// The measurement for the vector's launch with these numbers of vCPUs.
fn measure(folder: &std::path::Path, vector: &Value, vcpus: &[u32]) -> Vec<Measurement> {
    let text = |key: &str| vector[key].as_str();
    let file = |key: &str| text(key).map(|name| fs::read(folder.join(name)).unwrap());
    let number = |key: &str| u64::from_str_radix(&text(key).unwrap()[2..], 16).unwrap();
    let image = file("ovmf").unwrap();
    let firmware = Firmware::parse(&image).unwrap();
    let kernel = file("kernel").map(|kernel| {
        let initrd = file("initrd").unwrap_or_default();
        let digest = |bytes: &[u8]| sha256(bytes).unwrap();
        Kernel::new(digest(&kernel), digest(&initrd), text("append").unwrap_or_default())
    });
    let vcpu = Vcpu::named(text("vcpu_type").unwrap()).unwrap();
    assert_eq!(u64::from(vcpu.signature()), number("vcpu_sig"));
    let vmm = match text("vmm_type").unwrap().to_lowercase().as_str() {
        "qemu" => Vmm::Qemu,
        "ec2" => Vmm::Ec2,
        "gce" => Vmm::Gce,
        other => panic!("no such hypervisor: {other}"),
    };
    let launch = Launch {
        firmware: &firmware,
        kernel: kernel.as_ref(),
        vcpu,
        guest_features: number("guest_features"),
        vmm,
    };
    launch.measure(vcpus).unwrap()
}

#[test]
fn every_figure_is_reproduced() {
    let Some((folder, vectors)) = vectors() else { return };
    assert!(vectors.len() >= 7, "only {} vectors", vectors.len());
    for vector in &vectors {
        let vcpus = u32::try_from(vector["vcpus"].as_u64().unwrap()).unwrap();
        let found = measure(&folder, vector, &[vcpus])[0].to_string();
        assert_eq!(vector["launch_digest"], found.as_str(), "{vector:#}");
    }
}

#[test]
fn many_counts_at_once_are_each_as_alone() {
    let Some((folder, vectors)) = vectors() else { return };
    for vector in &vectors {
        let counts = [8, 1, 4, 2, 1, 255];
        let together = measure(&folder, vector, &counts);
        let alone: Vec<_> = counts.iter().map(|count| measure(&folder, vector, &[*count])[0]).collect();
        assert_eq!(together, alone);
    }
}
