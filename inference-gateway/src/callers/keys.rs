//! The file of keys, and reading it again when it has changed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use service_runtime::{CancellationToken, TaskTracker, read_config_file};
use snp_evidence::UnixTime;
use tokio::{sync::watch, time::sleep};
use tracing::{error, info};

/// Between two looks at the file.
const EVERY: Duration = Duration::from_secs(5);

/// The keys of one version of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

/// One caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    /// Of the whole key, as it is shown.
    pub(super) sha256: [u8; 32],
    /// Not valid from this second on; none where the file says `never`.
    expires: Option<UnixTime>,
    pub(super) models: Option<Arc<[String]>>,
    /// Most requests at once.
    pub(super) concurrent: Option<u32>,
    /// Most requests in a minute.
    pub(super) per_minute: Option<u32>,
}

impl Key {
    pub(super) fn is_valid_at(&self, now: i64) -> bool {
        self.expires.is_none_or(|expires| now < expires.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    expires: String,
    models: Vec<String>,
    concurrent: Option<u32>,
    per_minute: Option<u32>,
}

impl Keys {
    /// Reads a file of version 1; a problem names the key, and never a digest.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
        let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if file.version != 1 {
            return Err(format!("version {} is unknown, need 1", file.version));
        }
        let keys = file.key.into_iter().map(Entry::read).collect::<Result<Vec<_>, _>>()?;
        let twice = |(at, key): (usize, &Key)| {
            keys.iter().take(at).any(|other| other.name == key.name || other.sha256 == key.sha256)
        };
        match keys.iter().enumerate().find(|one| twice(*one)) {
            Some((_, key)) => Err(format!("key {:?} has the name or the digest of another", key.name)),
            None => Ok(Self(keys)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    pub(super) fn named(&self, name: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.name == name)
    }
}

impl Entry {
    fn read(self) -> Result<Key, String> {
        let problem = |what: &str| format!("key {:?}: {what}", self.name);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            return Err(problem("name has to be 1 to 64 of A-Z a-z 0-9 - _ ."));
        }
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut sha256)
            .map_err(|_| problem("sha256 has to be 64 hexadecimal digits, of the whole key"))?;
        let expires = match self.expires.as_str() {
            "never" => None,
            time => Some(UnixTime::parse_rfc3339(time).ok_or_else(|| {
                problem("expires has to be a time such as 2027-01-01T00:00:00Z, or \"never\"")
            })?),
        };
        if self.models.is_empty() || self.concurrent == Some(0) || self.per_minute == Some(0) {
            return Err(problem(
                "models needs at least one name or \"*\", concurrent and per_minute at least 1",
            ));
        }
        let all = self.models.iter().any(|model| model == "*");
        Ok(Key {
            sha256,
            expires,
            models: (!all).then(|| self.models.into()),
            concurrent: self.concurrent,
            per_minute: self.per_minute,
            name: self.name,
        })
    }
}

/// Where the keys are, and what was last read there.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    bytes: Vec<u8>,
    keys: Arc<Keys>,
}

impl KeyFile {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = read_config_file(path).map_err(|error| error.to_string())?;
        let keys = Arc::new(Keys::parse(&bytes).map_err(|problem| format!("{}: {problem}", path.display()))?);
        Ok(Self { path: path.to_owned(), bytes, keys })
    }

    /// The keys, now and whenever the file changes. A file that cannot be used changes nothing, and is complained of once.
    pub(crate) fn follow(
        mut self,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> watch::Receiver<Arc<Keys>> {
        let (told, keys) = watch::channel(self.keys.clone());
        tracker.spawn(async move {
            let mut complained = false;
            while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
                match self.again() {
                    Ok(Some(keys)) => {
                        info!(keys = keys.0.len(), "the file of keys was read again");
                        complained = false;
                        told.send_replace(keys);
                    }
                    Err(problem) if !complained => {
                        error!(%problem, "the file of keys cannot be used; the keys before stay valid");
                        complained = true;
                    }
                    Ok(None) | Err(_) => {}
                }
            }
        });
        keys
    }

    /// What has changed.
    fn again(&mut self) -> Result<Option<Arc<Keys>>, String> {
        let bytes = read_config_file(&self.path).map_err(|error| error.to_string())?;
        if bytes == self.bytes {
            return Ok(None);
        }
        *self = Self::read(&self.path)?;
        Ok(Some(self.keys.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(more: &str) -> String {
        format!(
            "[[key]]\nname = \"a\"\nsha256 = \"{}\"\nexpires = \"never\"\nmodels = [\"*\"]\n{more}",
            "ab".repeat(32)
        )
    }

    fn parse(text: &str) -> Result<Keys, String> {
        Keys::parse(format!("version = 1\n{text}").as_bytes())
    }

    #[test]
    fn a_key_has_a_name_a_digest_an_end_and_models() {
        let keys = parse(&entry("concurrent = 2\nper_minute = 60\n")).unwrap();
        let key = keys.named("a").unwrap();
        assert_eq!((key.sha256, key.concurrent, key.per_minute), ([0xab; 32], Some(2), Some(60)));
        assert!(key.models.is_none() && key.is_valid_at(i64::MAX));
        let ends = entry("").replace("never", "2027-01-01T00:00:00Z").replace('*', "m");
        let keys = parse(&ends).unwrap();
        let key = keys.named("a").unwrap();
        assert!(key.is_valid_at(1_798_761_599) && !key.is_valid_at(1_798_761_600));
        assert_eq!(key.models.as_deref(), Some(&["m".to_owned()][..]));
        assert_eq!(parse("").unwrap().iter().count(), 0, "nobody may ask");
    }

    #[test]
    fn what_is_not_stated_or_stated_twice_is_refused() {
        let twice = format!("{}{}", entry(""), entry("").replace("\"a\"", "\"b\""));
        for (text, problem) in [
            (entry("extra = 1\n"), "unknown field"),
            (entry("").replace("expires = \"never\"\n", ""), "missing field `expires`"),
            (entry("").replace("never", "soon"), "expires has to be"),
            (entry("").replace("[\"*\"]", "[]"), "models needs"),
            (entry("concurrent = 0\n"), "at least 1"),
            (entry("").replace("\"a\"", "\"a b\""), "name has to be"),
            (entry("").replace(&"ab".repeat(32), "ab"), "sha256 has to be"),
            (twice, "of another"),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.contains(problem) && !found.contains("abab"), "{found}");
        }
        assert!(Keys::parse(b"version = 2\n").unwrap_err().contains("need 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_read_again_and_what_cannot_be_used_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), format!("version = 1\n{text}")).unwrap();
        write("");
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let mut keys = KeyFile::read(file.path()).unwrap().follow(stop.clone(), &tracker);
        write("nonsense");
        sleep(EVERY * 3).await;
        assert!(!keys.has_changed().unwrap());
        write(&entry(""));
        keys.changed().await.unwrap();
        assert_eq!(keys.borrow().iter().count(), 1);
        stop.cancel();
        tracker.close();
        tracker.wait().await;
    }
}
