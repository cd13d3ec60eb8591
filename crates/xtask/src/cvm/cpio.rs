//! An initrd: the cpio archive that Linux unpacks at its start (docs.kernel.org, "initramfs buffer format", `newc`). The same
//! parts give the same bytes.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

/// What lies in it, by path without a leading slash.
#[derive(Default)]
pub(crate) struct Archive(BTreeMap<String, Entry>);

enum Entry {
    Folder,
    File {
        bytes: Vec<u8>,
        mode: u32,
    },
    /// A character device by major and minor number.
    Device(u32, u32),
}

impl Archive {
    /// A file, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.folders_of(path);
        self.0.insert(path.to_owned(), Entry::File { bytes, mode });
    }

    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.folders_of(path);
        self.0.insert(path.to_owned(), Entry::Device(major, minor));
    }

    /// Every file below `folder`, for everybody to read.
    pub(crate) fn tree(&mut self, place: &str, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = format!("{place}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.tree(&path, &entry.path())?;
            } else {
                self.file(&path, fs::read(entry.path())?, 0o644);
            }
        }
        Ok(())
    }

    fn folders_of(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let above = path.get(..at).unwrap_or_default();
            self.0.entry(above.to_owned()).or_insert(Entry::Folder);
        }
    }

    /// Of root's, made in 1970, numbered in the order of the paths.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut archive = Vec::new();
        for (number, (path, entry)) in (1_u32..).zip(&self.0) {
            let (mode, bytes, device): (u32, &[u8], _) = match entry {
                Entry::Folder => (0o040_755, &[], (0, 0)),
                Entry::File { bytes, mode } => (0o100_000 | mode, bytes, (0, 0)),
                Entry::Device(major, minor) => (0o020_600, &[], (*major, *minor)),
            };
            append(&mut archive, number, mode, device, path, bytes)?;
        }
        append(&mut archive, 0, 0, (0, 0), "TRAILER!!!", &[])?;
        Ok(archive)
    }
}

fn append(
    archive: &mut Vec<u8>,
    number: u32,
    mode: u32,
    device: (u32, u32),
    path: &str,
    bytes: &[u8],
) -> Result<()> {
    let name = u32::try_from(path.len() + 1)?;
    // inode, mode, uid, gid, links, mtime, size, device of the file system (2), device (2), length of the name, checksum.
    let fields = [number, mode, 0, 0, 1, 0, u32::try_from(bytes.len())?, 0, 0, device.0, device.1, name, 0];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(path.bytes().chain([0]));
    pad(archive);
    archive.extend(bytes);
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_same_parts_give_the_same_bytes_in_whatever_order_they_come() {
        let make = |names: [&str; 2]| {
            let mut archive = Archive::default();
            for name in names {
                archive.file(name, name.bytes().collect(), 0o755);
            }
            archive.device("dev/console", 5, 1);
            archive.bytes().unwrap()
        };
        let archive = make(["bin/a", "etc/cube/b"]);
        assert_eq!(archive, make(["etc/cube/b", "bin/a"]));
        let Ok(mut cpio) = Command::new("cpio")
            .arg("--list")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            println!("skipped: there is no cpio to read it");
            return;
        };
        std::io::Write::write_all(&mut cpio.stdin.take().unwrap(), &archive).unwrap();
        let listed = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let wanted = ["bin", "bin/a", "dev", "dev/console", "etc", "etc/cube", "etc/cube/b"];
        assert_eq!(listed.lines().collect::<Vec<_>>(), wanted);
    }
}
