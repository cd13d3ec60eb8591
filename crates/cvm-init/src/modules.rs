//! The kernel's modules that lie in the initrd, in the order of their names. Afterwards no other can be loaded.

use std::{fs, path::Path};

use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
};

use crate::{Doing, Stop, say};

pub(crate) fn load(folder: &Path) -> Result<(), Stop> {
    let entries = fs::read_dir(folder).doing(folder.display().to_string())?;
    let mut files =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().doing("modules")?;
    files.sort();
    for path in &files {
        let file = fs::File::open(path).doing(path.display().to_string())?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            // Hardware that this machine has not, such as the SNP guest device of another kernel.
            Err(Errno::ENODEV) => say(&format!("{}: no such device here", path.display())),
            Err(error) => return Err(error).doing(path.display().to_string()),
        }
    }
    fs::write("/proc/sys/kernel/modules_disabled", "1").doing("closing the kernel to modules")
}
