//! A directory of certificates that the operator keeps.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};

/// The largest file that is read, in bytes; AMD's certificates have about 1,700.
pub const MAX_FILE: u64 = 64 * 1024;

/// Why the directory cannot be used. A file that is not there is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// The directory itself is absent or is something else.
    #[error("certificate directory {0} is not a directory: make it, or correct the path")]
    NotADirectory(PathBuf),
    /// A file is there but cannot be read.
    #[error("cannot read {path}: {source}; give this user read permission, or mend the link")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A socket, pipe or directory, which could block or never end.
    #[error("{0} is not a regular file: put the certificate itself there")]
    NotAFile(PathBuf),
    /// Larger than [`MAX_FILE`].
    #[error("{0} is larger than {MAX_FILE} bytes: it cannot be a certificate of AMD, fetch it again")]
    TooLarge(PathBuf),
    /// Neither DER nor PEM, or several PEM blocks.
    #[error(
        "{0} is neither DER nor PEM with exactly one block: fetch it again, or split a chain into its files"
    )]
    NotOneCertificate(PathBuf),
}

pub(crate) struct Directory<'a>(&'a Path);

impl<'a> Directory<'a> {
    pub(crate) fn open(path: &'a Path) -> Result<Self, CollateralError> {
        if path.is_dir() { Ok(Self(path)) } else { Err(CollateralError::NotADirectory(path.to_owned())) }
    }

    /// The one certificate or CRL in the file, as DER; nothing if there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CollateralError> {
        let path = self.0.join(name);
        let Some(bytes) = read_file(&path)? else { return Ok(None) };
        to_der(&bytes).map(Some).ok_or(CollateralError::NotOneCertificate(path))
    }
}

/// What the file holds; nothing if there is no such file.
pub(crate) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, CollateralError> {
    let unreadable = |source| CollateralError::Unreadable { path: path.to_owned(), source };
    // Opening a pipe must not wait for somebody to write to it.
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = match opened {
        // A link that leads nowhere is a mistake, not an absent file.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(CollateralError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CollateralError::TooLarge(path.to_owned()));
    }
    Ok(Some(bytes))
}

/// DER as it is, or the one block of a PEM text.
pub(crate) fn to_der(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.first() == Some(&SEQUENCE) {
        return Some(bytes.to_vec());
    }
    let certificates = CertificateDer::pem_slice_iter(bytes).map(|block| block.map(|der| der.to_vec()));
    let lists =
        CertificateRevocationListDer::pem_slice_iter(bytes).map(|block| block.map(|der| der.to_vec()));
    let mut blocks = certificates.chain(lists);
    match (blocks.next(), blocks.next()) {
        (Some(Ok(der)), None) => Some(der),
        _ => None,
    }
}

/// The DER tag that every certificate and CRL begins with, and no PEM text can.
const SEQUENCE: u8 = 0x30;
