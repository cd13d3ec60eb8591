//! The run directory: one unix socket per identity, the mesh's, and the administrator's. They disappear with
//! this process.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, chown, geteuid};
use rustix::fs::{XattrFlags, setxattr};
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
    // Without either right only a process of our own user can connect; the uid of whoever does is checked in any case.
    let given = chown(path, Some(Uid::from_raw(uid)), None).map_err(io::Error::from);
    if let Err(error) = given.or_else(|_| admit(path, uid)) {
        warn!(path = %path.display(), uid, %error, "socket cannot be given to its user");
    }
    Ok(Socket { listener, file })
}

/// What giving it away would do, where that is not ours to do (no CAP_CHOWN): the file's owner may list another user in
/// its access list, acl(5).
fn admit(path: &Path, uid: u32) -> io::Result<()> {
    Ok(setxattr(path, ACCESS_LIST, &access_list(uid), XattrFlags::empty())?)
}

/// The extended attribute that is one.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// As the kernel has it: a version, then tag, permissions and id of each entry. Read and write for owner and `uid`,
/// nothing for others.
fn access_list(uid: u32) -> Vec<u8> {
    const VERSION: u32 = 2;
    const NOBODY: u32 = u32::MAX;
    let [owner, user, group, mask, other] = [0x01, 0x02, 0x04, 0x10, 0x20_u16];
    let entries =
        [(owner, 6_u16, NOBODY), (user, 6, uid), (group, 0, NOBODY), (mask, 6, NOBODY), (other, 0, NOBODY)];
    let entry = |(tag, permissions, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [VERSION.to_le_bytes().to_vec(), entries.map(entry).concat()].concat()
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    const USER: u32 = 64_001;
    const STRANGER: u32 = 64_002;

    /// Needs root, who alone can act as others.
    #[tokio::test]
    async fn a_socket_can_be_entered_by_its_user_alone() {
        if !geteuid().is_root() {
            println!("skipped: only root can act as other users");
            return;
        }
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir().unwrap();
        let path = folder.path().join("one.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let enters = |uid: u32| {
            let connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
            let mut python = Command::new("python3");
            python.args(["-c", connect]).arg(&path).uid(uid).gid(uid);
            python.output().unwrap().status.success()
        };
        assert!(!enters(USER));
        admit(&path, USER).unwrap();
        assert!(enters(USER) && !enters(STRANGER));
    }
}
