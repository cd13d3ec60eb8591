//! `cube token inspect`: a health token in words.

use std::{io, path::Path};

use health_token::{Issuer, MAX_SIZE, TokenError, TokenKey, check_signed, inspect};
use snp_evidence::{Bundle, KeyManifest, Owner, UnixTime};

use crate::{
    args::token::{InspectArgs, TokenArgs, TokenCommand},
    exit::Exit,
    failure::Failure,
    input,
};

mod words;

/// What is known of the signature.
enum Standing {
    /// No manifest was named.
    Unchecked,
    /// Of this version of this instance's manifest, and in time.
    Signed { version: u64, instance: String },
    /// By the first check that failed.
    Refused(TokenError),
}

pub(crate) fn run(args: &TokenArgs) -> Result<u8, Failure> {
    let TokenCommand::Inspect(args) = &args.command;
    let (token, now) = (token(&args.token)?, args.at.unwrap_or_else(input::now));
    let manifest = manifest(args)?;
    let read = inspect(token.trim());
    let standing = match (&read, manifest) {
        (Err(error), _) => Standing::Refused(*error),
        (Ok(_), None) => Standing::Unchecked,
        (Ok(_), Some(manifest)) => held_against(&manifest, token.trim(), now)?,
    };
    let read = read.ok();
    words::print(read.as_ref(), &standing, now, args.json)?;
    Ok(if matches!(standing, Standing::Refused(_)) { Exit::Evidence as u8 } else { 0 })
}

fn token(path: &Path) -> Result<String, Failure> {
    let bytes =
        if path == Path::new("-") { input::bounded(io::stdin(), "stdin")? } else { input::file(path)? };
    let name = path.display();
    if bytes.len() > 2 * MAX_SIZE {
        return Err(Failure::Usage(format!(
            "{name} is {} bytes, and no token is over {MAX_SIZE}",
            bytes.len()
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::Usage(format!("{name} is no text; a token is one line of it")))
}

/// The manifest that the user names, as it is: nobody has vouched for it here.
fn manifest(args: &InspectArgs) -> Result<Option<KeyManifest>, Failure> {
    let usage =
        |path: &Path, error: &dyn std::error::Error| Failure::Usage(format!("{}: {error}", path.display()));
    let (path, bytes) = match (&args.manifest, &args.bundle) {
        (Some(path), _) => (path, input::file(path)?),
        (None, Some(path)) => {
            let bundle = Bundle::parse(&input::file(path)?).map_err(|error| usage(path, &error))?;
            (path, bundle.key_manifest().to_vec())
        }
        (None, None) => return Ok(None),
    };
    KeyManifest::parse(&bytes).map(Some).map_err(|error| usage(path, &error))
}

fn held_against(manifest: &KeyManifest, token: &str, now: UnixTime) -> Result<Standing, Failure> {
    let keys =
        manifest.token_keys().map(|key| TokenKey::from_spki(&key.spki.0)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| Failure::Usage(format!("the key manifest: {error}")))?;
    let issuer =
        Issuer { keys: &keys, id: &manifest.identity(Owner::Attestation), boot_seed: &manifest.boot_seed.0 };
    Ok(match check_signed(token, &issuer, now.0) {
        Ok(()) => Standing::Signed { version: manifest.version, instance: manifest.instance.clone() },
        Err(error) => Standing::Refused(error),
    })
}
