//! The three requests of the device mapper that make a device (Linux `include/uapi/linux/dm-ioctl.h`).
//!
//! The only unsafe code of this crate: the kernel is handed one buffer, whose length it is told in the buffer itself, and reads and
//! writes no other memory of ours.
#![expect(unsafe_code, reason = "an ioctl that takes an address; ADR 8")]

use std::{fs::File, io, os::fd::AsRawFd, path::PathBuf};

/// Bytes of `struct dm_ioctl`, which the requests' numbers carry.
const HEADER: usize = 312;
/// Room for the header and one target with its parameters.
const ROOM: usize = 4096;

/// A request and its answer.
#[repr(C, align(8))]
struct Message([u8; ROOM]);

nix::ioctl_readwrite_bad!(
    /// `DM_DEV_CREATE`.
    dm_dev_create,
    nix::request_code_readwrite!(0xfd, 0x03, HEADER),
    Message
);
nix::ioctl_readwrite_bad!(
    /// `DM_DEV_SUSPEND`, which without its flag resumes.
    dm_dev_suspend,
    nix::request_code_readwrite!(0xfd, 0x06, HEADER),
    Message
);
nix::ioctl_readwrite_bad!(
    /// `DM_TABLE_LOAD`.
    dm_table_load,
    nix::request_code_readwrite!(0xfd, 0x09, HEADER),
    Message
);

/// Makes the read-only device `name` of so many sectors, one `verity` target; its path.
pub(super) fn create(name: &str, sectors: u64, table: &str) -> io::Result<PathBuf> {
    let control = File::options().read(true).write(true).open("/dev/mapper/control")?;
    let fd = control.as_raw_fd();
    let mut created = message(name, None)?;
    // SAFETY: the buffer is live, `ROOM` bytes long as its header says, and nobody else's.
    unsafe { dm_dev_create(fd, &raw mut created) }?;
    let mut loaded = message(name, Some((sectors, table)))?;
    // SAFETY: as above.
    unsafe { dm_table_load(fd, &raw mut loaded) }?;
    let mut resumed = message(name, None)?;
    // SAFETY: as above.
    unsafe { dm_dev_suspend(fd, &raw mut resumed) }?;
    // The low byte of `dev` is that of the minor number, and nobody makes 256 disks.
    let minor = created.0.get(DEV).copied().unwrap_or_default();
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

/// Offsets in `struct dm_ioctl`.
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const DEV: usize = 40;
const NAME: usize = 48;
const READONLY: u32 = 1;

fn message(name: &str, target: Option<(u64, &str)>) -> io::Result<Message> {
    let mut bytes = [0; ROOM];
    let mut put = |at: usize, value: &[u8]| {
        let place = bytes.get_mut(at..at + value.len());
        place.map(|place| place.copy_from_slice(value)).ok_or(io::ErrorKind::InvalidInput)
    };
    // Version 4.0.0 of the interface.
    put(0, &4_u32.to_le_bytes())?;
    put(DATA_SIZE, &u32::try_from(ROOM).map_err(io::Error::other)?.to_le_bytes())?;
    put(DATA_START, &u32::try_from(HEADER).map_err(io::Error::other)?.to_le_bytes())?;
    put(FLAGS, &READONLY.to_le_bytes())?;
    // The last of 128 bytes is the end of the text.
    if name.len() > 127 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    put(NAME, name.as_bytes())?;
    if let Some((sectors, table)) = target {
        put(TARGET_COUNT, &1_u32.to_le_bytes())?;
        // `struct dm_target_spec`: start, length, status, next, type; then the parameters.
        put(HEADER + 8, &sectors.to_le_bytes())?;
        put(HEADER + 24, b"verity")?;
        put(HEADER + 40, table.as_bytes())?;
        // The zero at their end has to be there.
        put(HEADER + 40 + table.len(), &[0])?;
    }
    Ok(Message(bytes))
}
