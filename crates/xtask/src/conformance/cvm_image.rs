//! The measured image, with services on simulated hardware, booted by QEMU's emulation.

use std::{fs, process::Command};

use anyhow::{Result, ensure};

use super::example;
use crate::{
    cvm::{self, Parts},
    package::{TARGET, set_up},
    shell::{apt, cargo, run, target, workspace},
};

const SCRIPT: &str = "crates/xtask/src/conformance/cvm_image.py";
/// A firmware image with SEV's metadata, beside the recorded evidence.
const FIRMWARE: &str = "../shared/evidence/launch-measurement/ovmf_AmdSev_suffix.bin";
/// In `/bin`, and the main on simulated hardware in its place.
const SERVICES: [(&str, &str); 3] = [
    ("attestation-svc", "sim-attestation-svc"),
    ("inference-gateway", "sim-inference-gateway"),
    ("backend-adapter", "sim-backend-adapter"),
];

pub(super) fn driver() -> Result<Command> {
    let firmware = workspace().join(FIRMWARE);
    ensure!(
        firmware.exists(),
        "{FIRMWARE} is not here: a launch measurement needs a firmware image with SEV's metadata"
    );
    apt("qemu-system-x86_64", "qemu-system-x86")?;
    apt("cpio", "cpio")?;
    set_up()?;
    let scratch = target()?.join("cvm-image");
    drop(fs::remove_dir_all(&scratch));
    let (inside, outside, server) = (scratch.join("inside"), scratch.join("outside"), scratch.join("server"));
    fs::create_dir_all(&inside)?;
    fs::create_dir_all(&server)?;
    run(example("cvm-prepare")?.arg(&inside).arg(&outside))?;
    for folder in ["run", "collateral"] {
        drop(fs::remove_dir(inside.join(folder)));
    }
    let built = programs()?;
    fs::copy(built.join("examples/model-server"), server.join("model-server"))?;
    let mut programs: Vec<_> = SERVICES.map(|(name, main)| (name, built.join(main))).into();
    programs.push(("init", built.join("cvm-init")));
    let parts = Parts {
        programs,
        config: inside,
        disks: vec![("server".to_owned(), server)],
        net: "10.0.2.15/24,10.0.2.2".to_owned(),
        kernel: cvm::debians()?,
    };
    let (image, again) = (scratch.join("image"), scratch.join("again"));
    cvm::build(&parts, &image)?;
    cvm::build(&parts, &again)?;
    let mut driver = Command::new("python3");
    driver.current_dir(workspace()).arg(SCRIPT).arg(image).arg(again).arg(outside);
    driver.arg(target()?.join("debug/cube")).arg(firmware);
    Ok(driver)
}

/// Static, and without what debuggers want: the machine keeps them in memory.
fn programs() -> Result<std::path::PathBuf> {
    let profile = ["--config", "profile.dev.strip=true", "--config", "profile.dev.opt-level=1"];
    let base = [
        "build",
        "--locked",
        "--target",
        TARGET,
        "--package",
        "dev-stack",
        "--package",
        "cvm-init",
        "--package",
        "e2e",
    ];
    run(cargo(&base).args(["--bins", "--example", "model-server"]).args(profile))?;
    Ok(target()?.join(TARGET).join("debug"))
}
