//! What is done to the kernel's attributes.

use std::{
    ffi::OsString,
    fmt::Debug,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A seam, because no test can register a driver with configfs.
pub(crate) trait Files: Debug + Send + Sync {
    /// Names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the directory until the lock is dropped, at the latest with the process. Nothing where another has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// At most [`MAX_ATTRIBUTE`] bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// All in one call: the kernel takes an attribute write as a whole.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// A directory that is ours.
pub(crate) type Lock = Box<dyn Debug + Send>;

/// The kernel's own.
#[derive(Debug)]
pub(crate) struct Kernel;

impl Files for Kernel {
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        Ok(locked(File::open(path)?, path)?.map(|directory| Box::new(directory) as Lock))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_ATTRIBUTE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_ATTRIBUTE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all(bytes)
    }
}

/// `directory` with a lock, while it is what `path` names: it may have been removed since it was opened.
fn locked(directory: File, path: &Path) -> io::Result<Option<File>> {
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (ours, there) = (directory.metadata()?, fs::metadata(path)?);
    if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
        return Ok(Some(directory));
    }
    Err(io::ErrorKind::NotFound.into())
}

/// An attribute's text, without the newline at its end.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// Far above a certificate table, which the kernel limits to 16 KiB.
const MAX_ATTRIBUTE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_a_bound_and_never_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attribute");
        assert_eq!(Kernel.write(&path, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, vec![1; 64 * 1024]).unwrap();
        assert_eq!(Kernel.read(&path).unwrap().len(), 64 * 1024);
        fs::write(&path, vec![1; 64 * 1024 + 1]).unwrap();
        assert_eq!(Kernel.read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        Kernel.write(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap()[..6], *b"short\x01");
    }

    #[test]
    fn a_directory_is_locked_once_and_free_again_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let held = Kernel.lock(folder.path()).unwrap().unwrap();
        assert!(Kernel.lock(folder.path()).unwrap().is_none());
        drop(held);
        assert!(Kernel.lock(folder.path()).unwrap().is_some());
        let gone = folder.path().join("gone");
        assert_eq!(Kernel.lock(&gone).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_directory_that_was_removed_or_made_anew_cannot_be_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("request");
        fs::create_dir(&path).unwrap();
        let opened = || File::open(&path).unwrap();
        let (one, other) = (opened(), opened());
        fs::remove_dir(&path).unwrap();
        assert_eq!(locked(one, &path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&path).unwrap();
        assert_eq!(locked(other, &path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(locked(opened(), &path).unwrap().is_some());
    }
}
