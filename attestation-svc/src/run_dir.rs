//! The run directory: one unix socket per identity, the mesh's, and the administrator's. They disappear with
//! this process.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, chown, geteuid};
use tokio::net::UnixListener;
use tracing::warn;

use crate::enrolment::Identity;
use crate::error::SocketError;

/// The sockets of this process.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) enrolment: Vec<(Identity, Socket)>,
    pub(crate) admin: Socket,
    /// Where a proxy is, and its user.
    pub(crate) mesh: Option<(u32, Socket)>,
    /// Held as long as this process serves: whoever holds it may remove stale sockets.
    pub(crate) lock: File,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) file: SocketFile,
}

/// Removes the socket at the end.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            warn!(path = %self.0.display(), %error, "socket cannot be removed");
        }
    }
}

/// Makes a socket for each of `identities`, for the mesh's user, and the administrator's.
pub(crate) fn open(
    folder: &Path,
    identities: &[Identity],
    mesh: Option<u32>,
) -> Result<Sockets, SocketError> {
    check_folder(folder)?;
    let lock = lock(&folder.join("attestation-svc.lock"))?;
    // First, so that whoever can enrol can be revoked.
    let admin = bind(&folder.join("admin.sock"), geteuid().as_raw())?;
    let enrolment = identities.iter().map(|identity| {
        let path = folder.join(format!("enrol-{}.sock", identity.role));
        Ok((identity.clone(), bind(&path, identity.of.uid)?))
    });
    let enrolment = enrolment.collect::<Result<_, SocketError>>()?;
    let mesh = mesh.map(|uid| Ok((uid, bind(&folder.join("mesh.sock"), uid)?)));
    Ok(Sockets { enrolment, admin, mesh: mesh.transpose()?, lock })
}

/// Whoever may write here could put a socket of his own in place of ours.
fn check_folder(folder: &Path) -> Result<(), SocketError> {
    let made = DirBuilder::new().mode(0o711).recursive(true).create(folder);
    made.map_err(|source| failed("create", folder, source))?;
    let facts = fs::symlink_metadata(folder).map_err(|source| failed("examine", folder, source))?;
    if !facts.is_dir() || facts.mode() & 0o022 != 0 {
        return Err(SocketError::Open(folder.to_owned()));
    }
    if facts.uid() != 0 && facts.uid() != geteuid().as_raw() {
        return Err(SocketError::Foreign { path: folder.to_owned(), owner: facts.uid() });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, SocketError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(|source| failed("open", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed("lock", path, source)),
    }
}

/// A socket of mode 0600 that belongs to `uid`.
fn bind(path: &Path, uid: u32) -> Result<Socket, SocketError> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(|source| failed("bind", path, source))?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(|source| failed("chmod", path, source))?;
    // Without the right to give files away only a process of our own user can connect; the uid of
    // whoever does is checked in any case.
    if let Err(error) = chown(path, Some(Uid::from_raw(uid)), None) {
        warn!(path = %path.display(), uid, %error, "socket cannot be given to its user");
    }
    Ok(Socket { listener, file })
}

/// A socket left by a process that was killed. We hold the lock, so nobody listens on it.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(failed("examine", path, source)),
        Ok(facts) if facts.file_type().is_socket() => {
            fs::remove_file(path).map_err(|source| failed("remove", path, source))
        }
        Ok(_) => Err(SocketError::NotASocket(path.to_owned())),
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> SocketError {
    SocketError::Io { operation, path: path.to_owned(), source }
}
