//! What the kernel offers as file systems. The root stays what the initrd unpacked to, in memory.

use std::fs;

use nix::mount::{MsFlags, mount as mounted};

use crate::{Doing, Stop, say};

/// Place, type, and whether devices in it count.
const MOUNTS: [(&str, &str, bool); 5] = [
    ("/proc", "proc", false),
    ("/sys", "sysfs", false),
    ("/dev", "devtmpfs", true),
    ("/run", "tmpfs", false),
    ("/var", "tmpfs", false),
];

pub(crate) fn mount() -> Result<(), Stop> {
    for (place, kind, devices) in MOUNTS {
        fs::create_dir_all(place).doing(place)?;
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        flags.set(MsFlags::MS_NODEV, !devices);
        let options = (kind == "tmpfs").then_some("mode=0755");
        mounted(Some(kind), place, Some(kind), flags, options).doing(format!("mounting {place}"))?;
    }
    Ok(())
}

/// Where the kernel has it, which its module decides: reports by configfs-tsm.
pub(crate) fn configfs() {
    let kind = Some("configfs");
    if let Err(error) =
        mounted(kind, "/sys/kernel/config", kind, MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, None::<&str>)
    {
        say(&format!("no configfs: {error}"));
    }
}
