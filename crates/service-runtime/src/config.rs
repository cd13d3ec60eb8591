//! Configuration files: strict TOML, every complaint with its place and its mend.

use std::{
    fmt, fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

/// Largest configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

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
    #[error("{path}: {problems}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong in it.
        problems: Problems,
    },
}

/// Problems gathered before any is reported, so that one run shows them all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Notes a problem: which key, what it says, what it should say.
    pub fn push(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Notes a problem unless `holds`.
    pub fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.0.push(problem());
        }
    }

    /// Unwraps `result`, or notes its error under `key`.
    pub fn take<T, E: fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.push(format!("{key}: {error}"))).ok()
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error naming `path` where anything was noted.
    pub fn into_result(self, path: &Path) -> Result<(), ConfigError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Content { path: path.to_owned(), problems: self })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n  "))
    }
}

/// Reads a configuration file that nobody but its owner and group can have written.
pub fn read_config_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let fail = |problem: String| ConfigError::File { path: path.to_owned(), problem };
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

/// Reads a TOML file into its raw form. Unknown keys are the raw form's to refuse
/// (`#[serde(deny_unknown_fields)]`).
pub fn load_config<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let bytes = read_config_file(path)?;
    let mut problems = Problems::default();
    let text = problems.take("encoding", std::str::from_utf8(&bytes));
    let parsed = text.and_then(|text| problems.take("TOML", toml::from_str(text)));
    match parsed {
        Some(config) => Ok(config),
        None => Err(ConfigError::Content { path: path.to_owned(), problems }),
    }
}

/// `path` as seen from the folder of `config_file`, so that a set of files can be moved together.
pub fn resolve(config_file: &Path, path: &Path) -> PathBuf {
    config_file.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its presence matters")]
        known: u32,
    }

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn unknown_key_is_named() {
        let (_folder, path) = written("known = 1\nunknwon = 2\n", 0o644);
        let error = load_config::<Sample>(&path).unwrap_err().to_string();
        assert!(error.contains("sample.toml") && error.contains("unknwon"), "{error}");
    }

    #[test]
    fn missing_file_is_named() {
        let error = load_config::<Sample>(Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/x.toml"), "{error}");
    }

    #[test]
    fn file_writable_by_everybody_is_refused() {
        let (_folder, path) = written("known = 1\n", 0o646);
        let error = load_config::<Sample>(&path).unwrap_err().to_string();
        assert!(error.contains("chmod o-w"), "{error}");
    }

    #[test]
    fn all_problems_are_reported_together() {
        let mut problems = Problems::default();
        problems.require(false, || "a: wrong".into());
        problems.take("b", "x".parse::<u8>());
        let error = problems.into_result(Path::new("f.toml")).unwrap_err().to_string();
        assert!(error.contains("a: wrong") && error.contains("b: invalid digit"), "{error}");
    }
}
