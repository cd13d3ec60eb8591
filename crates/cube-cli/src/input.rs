//! Reading what the user names on the command line.

use std::{io::Read, path::Path};

use attested_client::ServerTrust;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use service_runtime::{Clock, SystemClock};
use snp_evidence::{Policy, TrustRoots, UnixTime};

use crate::{
    args::{RootArgs, ServerArgs},
    failure::Failure,
};

/// No file or prompt that a command reads is larger, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// 32 bytes as 64 hexadecimal or 43 base64url characters.
pub(crate) fn value32(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = hex::decode(text).ok().or_else(|| URL_SAFE_NO_PAD.decode(text).ok());
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or("need 32 bytes: 64 hexadecimal or 43 unpadded base64url characters")
}

/// 48 bytes as 96 hexadecimal characters.
pub(crate) fn value48(text: &str) -> Result<[u8; 48], &'static str> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("need 48 bytes: 96 hexadecimal characters")
}

/// A challenge of the user's own, of any length that the evidence may have.
#[derive(Debug, Clone)]
pub(crate) struct Nonce(pub(crate) Vec<u8>);

/// Hexadecimal of any length, or the 43 base64url characters of 32 bytes: an odd number, so never both.
pub(crate) fn nonce(text: &str) -> Result<Nonce, &'static str> {
    let bytes = hex::decode(text).ok().or_else(|| value32(text).ok().map(Vec::from));
    bytes.map(Nonce).ok_or("need hexadecimal, or 32 bytes as 43 unpadded base64url characters")
}

/// A file that may be absent.
pub(crate) fn file_if_any(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    if path.exists() { file(path).map(Some) } else { Ok(None) }
}

pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    bounded(file, &path.display().to_string())
}

/// Reads to the end, refusing what is over the limit.
pub(crate) fn bounded(from: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_FILE + 1).read_to_end(&mut bytes);
    let read = read.map_err(|e| Failure::Usage(format!("cannot read {name}: {e}")))?;
    if read as u64 > MAX_FILE {
        return Err(Failure::Usage(format!("{name} is over {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn policy(path: &Path) -> Result<Policy, Failure> {
    Policy::parse(&file(path)?).map_err(|problems| Failure::Usage(format!("{}: {problems}", path.display())))
}

pub(crate) fn now() -> UnixTime {
    UnixTime(SystemClock.unix())
}

/// AMD's roots, or in their place the simulator's.
pub(crate) fn roots(args: &RootArgs) -> Result<TrustRoots, Failure> {
    match &args.allow_simulated {
        None => Ok(TrustRoots::amd()),
        Some(path) => TrustRoots::simulated(&file(path)?)
            .map_err(|e| Failure::Usage(format!("{}: {e}", path.display()))),
    }
}

pub(crate) fn server_trust(args: &ServerArgs) -> Result<ServerTrust, Failure> {
    match &args.ca {
        None => Ok(ServerTrust::EvidenceAlone),
        Some(path) => ServerTrust::from_pem(&file(path)?)
            .map_err(|e| Failure::Usage(format!("{}: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_two_bytes_are_read_in_both_forms() {
        assert_eq!(value32(&"ab".repeat(32)), Ok([0xab; 32]));
        assert_eq!(value32(&URL_SAFE_NO_PAD.encode([7; 32])), Ok([7; 32]));
        for wrong in ["", "ab", &"ab".repeat(31), &"zz".repeat(32), &"A".repeat(44)] {
            assert!(value32(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_nonce_has_one_reading() {
        let read = |text: &str| nonce(text).map(|nonce| nonce.0);
        assert_eq!(read("6368616c"), Ok(b"chal".to_vec()));
        assert_eq!(read(&URL_SAFE_NO_PAD.encode([7; 32])), Ok(vec![7; 32]));
        assert_eq!(read(""), Ok(vec![]));
        for wrong in ["636", "Y2hhbA", "zz"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
