//! `cargo xtask cvm-image`: kernel, initrd, command line and disks of a machine that a launch measurement covers
//! (`docs/deploy/cvm.md`).

pub(crate) mod cpio;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::cpio::Archive;
use crate::{
    package,
    shell::{apt, cache, output, progress, run, target},
};

/// Debian's kernel for machines of clouds; another one is given by --kernel and --modules.
const KERNEL: &str = "linux-image-cloud-amd64";
/// Drivers of the image, and what tells backend-adapter whose a socket is; a kernel that has one built in, or not at all, needs no file for it.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "dm-verity",
    "squashfs",
    "tcp_diag",
    "configfs",
    "tsm",
    "sev-guest",
];
/// Bytes of a block of a disk.
const BLOCK: u64 = 4096;

/// What an image is made of.
#[derive(Args)]
pub(crate) struct Options {
    /// Folder of what is measured beside the programs: init.toml, measured.toml, policy.toml, and a file for each service.
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// A read-only disk of a folder's files, whose root hash goes on the command line. Repeatable.
    #[arg(long, value_name = "NAME=DIR", value_parser = disk)]
    disk: Vec<(String, PathBuf)>,
    /// Address of the machine, and its gateway.
    #[arg(long, value_name = "ADDRESS/PREFIX,GATEWAY")]
    net: String,
    /// A kernel of your own, such as one with the SNP guest driver; Debian's cloud kernel without.
    #[arg(long, value_name = "FILE", requires = "modules")]
    kernel: Option<PathBuf>,
    /// Its modules: the folder with modules.dep.
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
}

fn disk(text: &str) -> Result<(String, PathBuf), String> {
    let (name, folder) = text.split_once('=').ok_or("need NAME=DIR")?;
    Ok((name.to_owned(), folder.into()))
}

/// What goes into an image.
pub(crate) struct Parts<'a> {
    /// By the name in `/bin`; `init` is the first process.
    pub(crate) programs: Vec<(&'a str, PathBuf)>,
    pub(crate) config: PathBuf,
    pub(crate) disks: Vec<(String, PathBuf)>,
    pub(crate) net: String,
    /// Kernel, and folder of its modules.
    pub(crate) kernel: (PathBuf, PathBuf),
}

/// The shipped services, as `cargo xtask package` builds them.
pub(crate) fn image(options: Options) -> Result<()> {
    package::package()?;
    let folder = target()?.join("package");
    let program = |name: &'static str| (name, folder.join(name));
    let mut programs =
        vec![program("attestation-svc"), program("inference-gateway"), program("backend-adapter")];
    programs.push(("init", folder.join("cvm-init")));
    let kernel = match options.kernel.zip(options.modules) {
        Some(own) => own,
        None => debians()?,
    };
    let (config, disks, net) = (options.config, options.disk, options.net);
    let out = target()?.join("cvm");
    build(&Parts { programs, config, disks, net, kernel }, &out)?;
    progress(&format!("in {}; what it measures to, with your firmware:", out.display()));
    progress(&format!(
        "  cube measure --ovmf OVMF.fd --kernel {0}/vmlinuz --initrd {0}/initrd --append \"$(cat {0}/cmdline)\" \
         --vcpu-type EPYC-v4 --policy-snippet=userspace",
        out.display()
    ));
    Ok(())
}

/// Writes the image to `out`: the same parts give the same bits.
pub(crate) fn build(parts: &Parts<'_>, out: &Path) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    fs::copy(&parts.kernel.0, out.join("vmlinuz")).with_context(|| parts.kernel.0.display().to_string())?;
    let mut archive = Archive::default();
    for (name, file) in &parts.programs {
        let bytes = fs::read(file).with_context(|| file.display().to_string())?;
        let path = if *name == "init" { "init".to_owned() } else { format!("bin/{name}") };
        archive.file(&path, bytes, 0o755);
    }
    archive.tree("etc/cube", &parts.config)?;
    for (at, module) in modules(&parts.kernel.1)?.iter().enumerate() {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        archive.file(&format!("lib/modules/{at:02}-{name}"), fs::read(module)?, 0o644);
    }
    // The kernel opens it for the first process, before anything is mounted.
    archive.device("dev/console", 5, 1);
    fs::write(out.join("initrd"), archive.bytes()?)?;
    let disks =
        parts.disks.iter().map(|(name, folder)| verity(name, folder, out)).collect::<Result<Vec<_>>>()?;
    let words = ["console=ttyS0".to_owned(), "panic=-1".to_owned(), "quiet".to_owned()];
    let net = format!("cube.net={}", parts.net);
    fs::write(
        out.join("cmdline"),
        words.into_iter().chain(disks).chain([net]).collect::<Vec<_>>().join(" "),
    )?;
    sums(out)
}

fn sums(out: &Path) -> Result<()> {
    let mut files: Vec<_> = fs::read_dir(out)?.map(|file| Ok(file?.file_name())).collect::<Result<_>>()?;
    files.sort();
    fs::write(out.join("SHA256SUMS"), output(Command::new("sha256sum").current_dir(out).args(files))?)?;
    Ok(())
}

/// A disk of the files in `folder`, the hash tree behind them; its word on the command line.
fn verity(name: &str, folder: &Path, out: &Path) -> Result<String> {
    apt("mksquashfs", "squashfs-tools")?;
    apt("veritysetup", "cryptsetup-bin")?;
    let disk = out.join(format!("{name}.disk"));
    let mut squash = Command::new("mksquashfs");
    squash.arg(folder).arg(&disk).args(["-noappend", "-no-progress", "-quiet", "-no-xattrs", "-all-root"]);
    run(squash.args(["-processors", "1", "-all-time", "0", "-mkfs-time", "0"]))?;
    let size = fs::metadata(&disk)?.len();
    ensure!(size % BLOCK == 0, "mksquashfs made {size} bytes, which are no whole blocks");
    // Public, and the same for the same files; it keeps trees of other disks from being of use here.
    let salt = output(Command::new("sha256sum").arg(&disk))?;
    let salt = String::from_utf8(salt)?.split_whitespace().next().context("no digest")?.to_owned();
    let mut format = Command::new("veritysetup");
    format.args(["format", "--no-superblock", "--hash", "sha256", "--salt", &salt]);
    format.arg(format!("--hash-offset={size}")).arg(&disk).arg(&disk);
    let told = String::from_utf8(output(&mut format)?)?;
    let root = told.lines().find_map(|line| line.strip_prefix("Root hash:")).context("no root hash")?;
    Ok(format!("cube.disk={name},{},{salt},{}", root.trim(), size / BLOCK))
}

/// Debian's kernel, and the folder of its modules.
pub(crate) fn debians() -> Result<(PathBuf, PathBuf)> {
    let told = String::from_utf8(output(Command::new("apt-cache").args(["depends", KERNEL]))?)?;
    let package = told.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let version = package.context("apt knows no kernel; run apt-get update")?.to_owned();
    let home = cache().join("kernel").join(&version);
    if !home.join("complete").exists() {
        progress(&format!("downloading Debian's kernel {version} (once)"));
        drop(fs::remove_dir_all(&home));
        fs::create_dir_all(&home)?;
        run(Command::new("apt-get")
            .current_dir(&home)
            .args(["download", &format!("linux-image-{version}")]))?;
        let files = fs::read_dir(&home)?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
        let [package] = files.as_slice() else { bail!("apt-get left {} files", files.len()) };
        run(Command::new("dpkg").arg("-x").arg(package).arg(&home))?;
        apt("depmod", "kmod")?;
        run(Command::new("depmod").arg("-b").arg(&home).arg(&version))?;
        fs::write(home.join("complete"), "")?;
    }
    Ok((home.join(format!("boot/vmlinuz-{version}")), home.join("lib/modules").join(version)))
}

/// [`MODULES`] and what they need, in the order in which they can be loaded.
fn modules(folder: &Path) -> Result<Vec<PathBuf>> {
    let table =
        fs::read_to_string(folder.join("modules.dep")).with_context(|| folder.display().to_string())?;
    let rows: Vec<(&str, Vec<&str>)> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (file, needs.split_whitespace().collect()))
        .collect();
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for wanted in MODULES {
        let file = rows.iter().map(|(file, _)| *file).find(|file| stem(file) == wanted.replace('-', "_"));
        let needs =
            file.and_then(|file| rows.iter().find(|(known, _)| *known == file)).map(|(_, needs)| needs);
        // Each line lists all that is needed, what needs the least last.
        for file in needs.into_iter().flatten().rev().copied().chain(file) {
            if seen.insert(file) {
                order.push(folder.join(file));
            }
        }
    }
    Ok(order)
}

/// A module's name, as the kernel has it.
fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.split('.').next().unwrap_or_default().replace('-', "_")
}
