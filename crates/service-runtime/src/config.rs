//! Configuration files: strict TOML, every complaint at once with its place and its mend.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{exit::Exit, measured::MeasuredConfig};

mod common;
mod key;
mod observability;
mod problems;
mod settings;

pub use self::{
    common::Common,
    key::{Absent, Key},
    observability::{Observability, Traces},
    problems::Problems,
    settings::Settings,
};

/// Largest configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The configuration of a service.
pub trait Configuration: Sized {
    /// Asks for every key before it gives up on any. `None` where something that it needs has
    /// left a problem behind.
    fn read(settings: &mut Settings) -> Option<Self>;
    /// The measured part.
    fn measured(&self) -> &MeasuredConfig;
    /// What operators are told, and where.
    fn observability(&self) -> &Observability;
}

/// Why a configuration cannot be used. Display names the file and lists every problem.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The file can be read, and says something that cannot be.
    #[error("{path}:{problems}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong in it and in the files that it names.
        problems: Problems,
    },
}

impl ConfigError {
    /// [`Exit::Policy`] where nothing is wrong but the policy, which is not the measured one;
    /// else [`Exit::Config`].
    pub fn exit(&self) -> Exit {
        match self {
            Self::File { .. } => Exit::Config,
            Self::Content { problems, .. } => problems.exit(),
        }
    }
}

/// Reads and checks the file at `path`, and the files that it names.
pub fn load_config<C: Configuration>(path: &Path) -> Result<C, ConfigError> {
    load(path).map(|(config, _)| config)
}

/// Every key that the file of a `C` may have, in the order in which it is read.
pub fn config_keys<C: Configuration>() -> Vec<Key> {
    Settings::keys_of(C::read)
}

/// What `--check-config` prints: class and value of each key, and the digests that relying parties
/// hold the deployment to.
pub fn describe_config<C: Configuration>(path: &Path) -> Result<String, ConfigError> {
    let (config, operational) = load::<C>(path)?;
    let measured = config.measured();
    let mut lines: Vec<_> = operational.iter().map(|key| format!("operational  {key}")).collect();
    lines.extend(measured.keys().iter().map(|key| format!("measured     {key}")));
    for (digest, of) in [
        (measured.sha256(), "the measured configuration: the HOST_DATA to expect"),
        (&measured.policy_sha256, "the policy"),
    ] {
        lines.push(format!("measured     SHA-256 {} of {of}", hex::encode(digest)));
    }
    Ok(lines.join("\n") + "\n")
}

/// A configuration, and the keys of its file.
fn load<C: Configuration>(path: &Path) -> Result<(C, Vec<Key>), ConfigError> {
    let content = |problems| ConfigError::Content { path: path.to_owned(), problems };
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut settings = Settings::parse(folder, &read_config_file(path)?).map_err(content)?;
    let config = C::read(&mut settings);
    let keys = settings.finish().map_err(content)?;
    // `None` has left a problem behind, which is returned by now.
    let config = config.ok_or_else(|| unusable(path, "is incomplete".to_owned()))?;
    Ok((config, keys))
}

fn unusable(path: &Path, problem: String) -> ConfigError {
    ConfigError::File { path: path.to_owned(), problem }
}

/// Reads a configuration file that nobody but its owner and group can have written.
pub fn read_config_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let fail = |problem| unusable(path, problem);
    let file = fs::File::open(path).map_err(|error| fail(format!("cannot be opened: {error}")))?;
    let metadata = file.metadata().map_err(|error| fail(format!("cannot be examined: {error}")))?;
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err(fail("is writable by everybody; run `chmod o-w` on it".to_owned()));
    }
    if metadata.len() > MAX_BYTES {
        return Err(fail(format!("is {} bytes; the limit is {MAX_BYTES}", metadata.len())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| fail(format!("cannot be read: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
