//! Disks whose every block is held to a hash tree, whose root stands on the measured command line: dm-verity, read-only. A block
//! that was changed stops the machine when it is read.

mod ioctl;

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use nix::mount::{MsFlags, mount};

use crate::{Doing, Stop, cmdline::VerityDisk, say};

/// Bytes of a block, of data and of hashes.
const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;
/// For a disk to appear.
const LOOKS: u32 = 50;

/// Makes the disk readable below `/disk/NAME`.
pub(crate) fn open(disk: &VerityDisk) -> Result<(), Stop> {
    let VerityDisk { name, root, salt, blocks } = disk;
    let device = device(name)?;
    // docs.kernel.org/admin-guide/device-mapper/verity.html: the tree begins behind the data.
    let table = format!(
        "1 {0} {0} {BLOCK} {BLOCK} {blocks} {blocks} sha256 {1} {2} 1 panic_on_corruption",
        device.display(),
        hex::encode(root),
        hex::encode(salt),
    );
    let verified =
        ioctl::create(name, blocks * (BLOCK / SECTOR), &table).doing(format!("dm-verity of {name}"))?;
    let place = Path::new("/disk").join(name);
    fs::create_dir_all(&place).doing(place.display().to_string())?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(&verified), &place, Some("squashfs"), flags, None::<&str>)
        .doing(format!("mounting disk {name}"))?;
    say(&format!("disk {name}: verified blocks only, root hash {}", hex::encode(root)));
    Ok(())
}

/// The block device with this serial number.
fn device(serial: &str) -> Result<PathBuf, Stop> {
    for _ in 0..LOOKS {
        let devices = fs::read_dir("/sys/block").doing("/sys/block")?;
        for device in devices.flatten() {
            let known = fs::read_to_string(device.path().join("serial"));
            if known.is_ok_and(|known| known.trim() == serial) {
                return Ok(Path::new("/dev").join(device.file_name()));
            }
        }
        sleep(Duration::from_millis(100));
    }
    Err(Stop { doing: format!("disk {serial}"), why: "no disk has this serial number".to_owned() })
}
