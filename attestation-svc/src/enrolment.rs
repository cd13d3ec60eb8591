//! One unix socket per identity. The socket says whose identity it is, the kernel says who asks,
//! and the connection that enrolled is the holder until it closes.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use health_token::{Attested, Confirmation};
use mtls::{Role, SpiffeId};
use nix::unistd::{Uid, chown, geteuid};
use proto::reason;
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::warn;

use crate::config::Config;
use crate::error::SocketError;

/// A holder that comes back may be quicker than the end of its former connection.
const GRACE: Duration = Duration::from_millis(500);

/// The enrolment sockets of this process. They disappear with it.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<Socket>,
    /// Held as long as this process serves: whoever holds it may remove stale sockets.
    pub(crate) lock: File,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) identity: Identity,
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

/// An identity that can be enrolled.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) role: Role,
    /// The only user whose processes may hold it.
    pub(crate) uid: u32,
    place: Arc<Semaphore>,
}

impl Identity {
    fn new(role: Role, uid: u32) -> Self {
        Self { role, uid, place: Arc::new(Semaphore::new(1)) }
    }

    /// The one place of the holder.
    pub(crate) async fn take(&self) -> Result<OwnedSemaphorePermit, Status> {
        match timeout(GRACE, Arc::clone(&self.place).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(proto::status(
                Code::AlreadyExists,
                reason::IDENTITY_IN_USE,
                format!("identity {} has a live holder; stop that process first", self.role),
            )),
        }
    }
}

/// One connection to an enrolment socket.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) identity: Identity,
    holder: OnceLock<Holder>,
}

/// The process at the other end is who the socket's identity belongs to, until it disconnects.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) id: SpiffeId,
    pub(crate) confirmation: Confirmation,
    pub(crate) attested: Attested,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl Session {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity, holder: OnceLock::new() }
    }

    /// Makes this connection the holder.
    pub(crate) fn enrol(&self, holder: Holder) -> Result<(), Status> {
        // Out of reach, since the place was free; refused all the same.
        let taken = |_| proto::status(Code::AlreadyExists, reason::IDENTITY_IN_USE, "enrolled already");
        self.holder.set(holder).map_err(taken)
    }

    /// The holder, if this connection enrolled.
    pub(crate) fn holder(&self) -> Result<&Holder, Status> {
        let not = || {
            proto::status(
                Code::FailedPrecondition,
                reason::NOT_ENROLLED,
                "call Enroll on this connection first",
            )
        };
        self.holder.get().ok_or_else(not)
    }
}

/// Makes the sockets of every identity in the measured configuration.
pub(crate) fn open(config: &Config) -> Result<Sockets, SocketError> {
    let folder = &config.run_dir;
    check_folder(folder)?;
    let lock = lock(&folder.join("attestation-svc.lock"))?;
    let identities = config.measured.identities.iter();
    let identities = identities.filter_map(|(role, who)| Some(Identity::new(role.parse().ok()?, who.uid)));
    let sockets = identities.map(|identity| bind(folder, identity)).collect::<Result<_, _>>()?;
    Ok(Sockets { sockets, lock })
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

fn bind(folder: &Path, identity: Identity) -> Result<Socket, SocketError> {
    let path = folder.join(format!("enrol-{}.sock", identity.role));
    remove_stale(&path)?;
    let listener = UnixListener::bind(&path).map_err(|source| failed("bind", &path, source))?;
    let file = SocketFile(path.clone());
    fs::set_permissions(&path, Permissions::from_mode(0o600))
        .map_err(|source| failed("chmod", &path, source))?;
    // Without the right to give files away only a process of our own user can connect; the uid of
    // whoever does is checked in any case.
    if let Err(error) = chown(&path, Some(Uid::from_raw(identity.uid)), None) {
        warn!(path = %path.display(), uid = identity.uid, %error, "socket cannot be given to its user");
    }
    Ok(Socket { listener, identity, file })
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
