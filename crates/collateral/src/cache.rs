//! What the key server gave, kept on a disk: one file an item, at the item's path below the folder, so that it lies as
//! `wget --force-directories` would put it. Nobody trusts what is read: [`crate::item::Item::read`] judges it each time.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::directory::{CollateralError, read_file};

/// Certificates of one product that are kept; the oldest go. Each has about 1,400 bytes.
const MOST_FILES: usize = 4096;

/// The folder; it need not be there yet.
#[derive(Clone, Debug)]
pub(crate) struct Cache(pub(crate) PathBuf);

impl Cache {
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, CollateralError> {
        read_file(&self.0.join(path))
    }

    /// All of it or nothing: a reader sees the old file or the new one.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.0.join(path);
        let folder = file.parent().unwrap_or(&self.0);
        let create = |folder: &Path| DirBuilder::new().recursive(true).mode(0o700).create(folder);
        create(&self.0)?;
        self.is_ours()?;
        create(folder)?;
        make_room(folder)?;
        let unfinished = folder.join(UNFINISHED);
        let written = write_new(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, &file));
        // What is left of a failure is in the way of the next attempt; that it failed is told already.
        written.inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }

    /// Whoever may write to the folder could lead our writes elsewhere, by links.
    fn is_ours(&self) -> io::Result<()> {
        if fs::metadata(&self.0)?.mode() & 0o022 == 0 {
            return Ok(());
        }
        Err(io::Error::other("group or others may write there, run `chmod go-w` on it"))
    }
}

const UNFINISHED: &str = ".unfinished";

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left by a process that was killed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn make_room(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
        }
    }
    files.sort_unstable();
    let spare = (files.len() + 1).saturating_sub(MOST_FILES);
    files.iter().take(spare).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PATH: &str = "vcek/v1/Genoa/00ff?blSPL=07";

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(folder.path().join("cube"));
        (folder, cache)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_was_written_is_read_and_nobody_else_reads_it() {
        let (_folder, cache) = cache();
        assert_eq!(cache.read(PATH).unwrap(), None);
        for content in [b"first".as_slice(), b"second"] {
            cache.write(PATH, content).unwrap();
            assert_eq!(cache.read(PATH).unwrap().as_deref(), Some(content));
        }
        let file = cache.0.join(PATH);
        assert_eq!((mode(&cache.0), mode(file.parent().unwrap()), mode(&file)), (0o700, 0o700, 0o600));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_write_that_was_cut_off_is_in_nobodys_way() {
        let (_folder, cache) = cache();
        cache.write(PATH, b"first").unwrap();
        fs::write(cache.0.join(PATH).with_file_name(UNFINISHED), b"half").unwrap();
        cache.write(PATH, b"second").unwrap();
        assert_eq!(cache.read(PATH).unwrap().as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let (_folder, cache) = cache();
        cache.write(PATH, b"first").unwrap();
        let unfinished = cache.0.join(PATH).with_file_name(UNFINISHED);
        fs::create_dir(&unfinished).unwrap();
        assert!(cache.write(PATH, b"second").is_err());
        assert_eq!(cache.read(PATH).unwrap().as_deref(), Some(&b"first"[..]));
    }

    #[test]
    fn nothing_is_written_where_others_may_write() {
        for open in [0o770, 0o707] {
            let (_folder, cache) = cache();
            fs::create_dir(&cache.0).unwrap();
            fs::set_permissions(&cache.0, fs::Permissions::from_mode(open)).unwrap();
            let error = cache.write(PATH, b"content").unwrap_err();
            assert!(error.to_string().contains("chmod go-w"), "{error}");
            assert_eq!(cache.read(PATH).unwrap(), None);
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let (_folder, cache) = cache();
        cache.write(PATH, b"new").unwrap();
        let folder = cache.0.join(PATH).parent().unwrap().to_owned();
        for number in 0..MOST_FILES {
            let file = fs::File::create(folder.join(format!("old-{number}"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        cache.write("vcek/v1/Genoa/crl", b"list").unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), MOST_FILES);
        assert_eq!(cache.read(PATH).unwrap().as_deref(), Some(&b"new"[..]));
    }
}
