//! `cube measure`.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use launch_measurement::{Firmware, Kernel, Launch, Measurement, sha256};
use serde_json::json;

use crate::{
    args::measure::{Covers, MeasureArgs},
    failure::Failure,
    table,
};

/// No firmware image is larger, in bytes; QEMU itself takes 8 MiB unless told otherwise.
const MAX_FIRMWARE: u64 = 64 * 1024 * 1024;

pub(crate) fn run(args: &MeasureArgs) -> Result<u8, Failure> {
    let measured = measure(args)?;
    let text = match args.policy_snippet {
        Some(covers) => snippet(args, covers, &measured)?,
        None if args.json => json_text(args, &measured),
        None => lines(args, &measured),
    };
    table::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

fn measure(args: &MeasureArgs) -> Result<Vec<Measurement>, Failure> {
    let about = |error: &dyn std::error::Error| Failure::Usage(format!("{}: {error}", args.ovmf.display()));
    let image = firmware(&args.ovmf)?;
    let firmware = Firmware::parse(&image).map_err(|error| about(&error))?;
    let kernel = kernel(args)?;
    let vcpu = args.vcpu_type.or(args.vcpu_sig);
    let vcpu = vcpu.ok_or_else(|| Failure::Usage("give --vcpu-type or --vcpu-sig".to_owned()))?;
    let launch = Launch {
        firmware: &firmware,
        kernel: kernel.as_ref(),
        vcpu,
        guest_features: args.guest_features,
        vmm: args.vmm.vmm(),
    };
    launch.measure(&args.vcpus).map_err(|error| about(&error))
}

fn firmware(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut image = Vec::new();
    let read = open(path)?.take(MAX_FIRMWARE + 1).read_to_end(&mut image).map_err(unreadable(path))?;
    if read as u64 > MAX_FIRMWARE {
        let path = path.display();
        return Err(Failure::Usage(format!("{path} is over {MAX_FIRMWARE} bytes: is it a firmware image?")));
    }
    Ok(image)
}

/// Digests only: an initrd may hold a whole model.
fn kernel(args: &MeasureArgs) -> Result<Option<Kernel>, Failure> {
    let digest = |path: &Path| sha256(open(path)?).map_err(unreadable(path));
    let Some(path) = &args.kernel else { return Ok(None) };
    let initrd = match &args.initrd {
        Some(path) => digest(path)?,
        None => sha256(io::empty())?,
    };
    Ok(Some(Kernel::new(digest(path)?, initrd, args.append.as_deref().unwrap_or_default())))
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Usage(format!("cannot read {}: {error}", path.display()))
}

fn lines(args: &MeasureArgs, measured: &[Measurement]) -> String {
    let pairs = args.vcpus.iter().zip(measured);
    pairs.map(|(vcpus, measurement)| format!("{vcpus} {measurement}\n")).collect::<Vec<_>>().concat()
}

fn json_text(args: &MeasureArgs, measured: &[Measurement]) -> String {
    let pairs = args.vcpus.iter().zip(measured);
    let measurements: Vec<_> = pairs
        .map(|(vcpus, measurement)| json!({"vcpus": vcpus, "measurement": measurement.to_string()}))
        .collect();
    let vcpu = args.vcpu_type.or(args.vcpu_sig);
    let signature = vcpu.map(|vcpu| format!("{:#x}", vcpu.signature()));
    let all = json!({
        "measurements": measurements,
        "vcpu_signature": signature,
        "guest_features": format!("{:#x}", args.guest_features),
        "vmm": args.vmm.as_str(),
        "kernel": args.kernel.is_some(),
    });
    format!("{all:#}\n")
}

/// The section as `docs/spec/policy.md` has it. It claims no more than the user stated.
fn snippet(args: &MeasureArgs, covers: Covers, measured: &[Measurement]) -> Result<String, Failure> {
    let covers = match (covers, &args.kernel) {
        (Covers::Userspace, None) => {
            let problem = "--policy-snippet=userspace needs --kernel: without it the firmware alone is measured, and \
                           the host chooses what it boots";
            return Err(Failure::Usage(problem.to_owned()));
        }
        (Covers::Userspace, Some(_)) => "covers = \"userspace\"\n",
        (Covers::KernelOnly, Some(_)) => {
            "covers = \"kernel-only\"\nreason = \"nothing measured was said to hold the programs\"\n"
        }
        (Covers::KernelOnly, None) => {
            "covers = \"kernel-only\"\nreason = \"the firmware alone is measured\"\n"
        }
    };
    let entry = |(vcpus, measurement): (&u32, &Measurement)| {
        let vcpu = if *vcpus == 1 { "vCPU" } else { "vCPUs" };
        format!("  \"{measurement}\", # {vcpus} {vcpu}\n")
    };
    let allow: String = args.vcpus.iter().zip(measured).map(entry).collect();
    Ok(format!(
        "\n# In place of the line `measurement = …`, below all lines that stand before the first section.\n\
         [measurement]\nallow = [\n{allow}]\n{covers}"
    ))
}
