//! The command line of `cube measure`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use launch_measurement::{MAX_VCPUS, Vcpu, Vmm};

#[derive(Debug, Args)]
#[command(after_help = MEASURE_HELP)]
#[command(group = ArgGroup::new("vcpu").required(true).args(["vcpu_type", "vcpu_sig"]))]
pub(crate) struct MeasureArgs {
    /// The firmware image, as behind QEMU's -bios.
    #[arg(long, value_name = "FILE")]
    pub(crate) ovmf: PathBuf,
    /// The kernel, as behind -kernel, with kernel-hashes=on.
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// The initrd, as behind -initrd.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// The kernel's command line, as behind -append, to the letter.
    #[arg(long, value_name = "STR", requires = "kernel", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Numbers of vCPUs, as behind -smp; each has a measurement of its own.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_VCPUS)))]
    pub(crate) vcpus: Vec<u32>,
    /// Kind of vCPU, as behind -cpu, such as EPYC-v4.
    #[arg(long, value_name = "NAME", value_parser = vcpu)]
    pub(crate) vcpu_type: Option<Vcpu>,
    /// Kind of vCPU by its CPUID signature, such as 0xa00f11, for one without a name here.
    #[arg(long, value_name = "HEX", value_parser = signature)]
    pub(crate) vcpu_sig: Option<Vcpu>,
    /// SEV_FEATURES of the vCPUs: bit 0 is SNP, bit 5 debug-swap, which some kernels turn on.
    #[arg(long, value_name = "HEX", value_parser = number, default_value = "0x1")]
    pub(crate) guest_features: u64,
    /// Who starts the guest. For ec2 and gce one other implementation agrees, none confirms.
    #[arg(long, value_enum, value_name = "NAME", default_value = "qemu")]
    pub(crate) vmm: VmmName,
    /// Print the measurements as JSON.
    #[arg(long, conflicts_with = "policy_snippet")]
    pub(crate) json: bool,
    /// Print the measurement section of a policy. Userspace holds only where the services are inside the
    /// measured initrd, or behind a verity root hash in the measured command line.
    #[arg(long, value_enum, value_name = "COVERS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "kernel-only")]
    pub(crate) policy_snippet: Option<Covers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VmmName {
    Qemu,
    Ec2,
    Gce,
}

/// How far a measurement reaches, as the policy has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Covers {
    Userspace,
    KernelOnly,
}

impl VmmName {
    pub(crate) fn vmm(self) -> Vmm {
        match self {
            Self::Qemu => Vmm::Qemu,
            Self::Ec2 => Vmm::Ec2,
            Self::Gce => Vmm::Gce,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Ec2 => "ec2",
            Self::Gce => "gce",
        }
    }
}

fn vcpu(name: &str) -> Result<Vcpu, String> {
    Vcpu::named(name).ok_or_else(|| {
        let names: Vec<_> = Vcpu::names().collect();
        format!("need one of {}; others by --vcpu-sig", names.join(", "))
    })
}

fn signature(text: &str) -> Result<Vcpu, &'static str> {
    let number = number(text)?;
    let signature = u32::try_from(number).map_err(|_| "a CPUID signature has 32 bits")?;
    Ok(Vcpu::with_signature(signature))
}

fn number(text: &str) -> Result<u64, &'static str> {
    let digits = text.strip_prefix("0x").ok_or("need a number such as 0x1")?;
    u64::from_str_radix(digits, 16).map_err(|_| "need 64 bits or less in hexadecimal, such as 0x1")
}

const MEASURE_HELP: &str = "\
Examples:
  cube measure --ovmf OVMF.fd --kernel bzImage --initrd initrd.img --append \"console=ttyS0\" \\
      --vcpus 1,2,4 --vcpu-type EPYC-v4
  cube measure … --policy-snippet=userspace >> policy.toml

Prints one line per number of vCPUs: the number, and the launch measurement in hexadecimal,
which is SHA-384 over firmware, hashes of kernel, initrd and command line, and the vCPUs'
initial registers. The guest's report has to show the same 48 bytes.

Where a figure does not match, compare in this order: --vcpus, --vcpu-type, --guest-features,
the command line to the letter, and the files as the hypervisor has them.";
