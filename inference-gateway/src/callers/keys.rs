//! The file of keys: each caller by its key, or by the SPIFFE ID of its certificate.

use std::{path::Path, sync::Arc};

use mtls::CallerId;
use serde::Deserialize;
use service_runtime::{CancellationToken, TaskTracker};
use snp_evidence::UnixTime;
use tokio::sync::watch;

use super::watched::Watched;

/// The keys of one version of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

/// One caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) credential: Credential,
    /// Not valid from this second on; none where the file says `never`.
    expires: Option<UnixTime>,
    pub(super) models: Option<Arc<[String]>>,
    /// Most requests at once.
    pub(super) concurrent: Option<u32>,
    /// Most requests in a minute.
    pub(super) per_minute: Option<u32>,
}

/// What a caller shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// The SHA-256 of a whole key, as it is shown.
    Key([u8; 32]),
    /// A certificate that names this.
    Certificate(CallerId),
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
    sha256: Option<String>,
    spiffe_id: Option<String>,
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
            keys.iter().take(at).any(|other| other.name == key.name || other.credential == key.credential)
        };
        match keys.iter().enumerate().find(|one| twice(*one)) {
            Some((_, key)) => {
                Err(format!("key {:?} has the name, the digest or the SPIFFE ID of another", key.name))
            }
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
        let credential = credential(self.sha256.as_deref(), self.spiffe_id.as_deref());
        let credential = credential.map_err(|what| problem(&what))?;
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
            credential,
            expires,
            models: (!all).then(|| self.models.into()),
            concurrent: self.concurrent,
            per_minute: self.per_minute,
            name: self.name,
        })
    }
}

fn credential(sha256: Option<&str>, spiffe_id: Option<&str>) -> Result<Credential, String> {
    match (sha256, spiffe_id) {
        (Some(digest), None) => {
            let mut sha256 = [0; 32];
            hex::decode_to_slice(digest, &mut sha256)
                .map_err(|_| "sha256 has to be 64 hexadecimal digits, of the whole key".to_owned())?;
            Ok(Credential::Key(sha256))
        }
        (None, Some(id)) => {
            id.parse().map(Credential::Certificate).map_err(|error| format!("spiffe_id: {error}"))
        }
        (None, None) | (Some(_), Some(_)) => Err("needs either sha256 or spiffe_id".to_owned()),
    }
}

/// Where the keys are, and what was last read there.
#[derive(Debug, Clone)]
pub struct KeyFile {
    file: Watched,
    keys: Arc<Keys>,
    trust_domain: Option<String>,
}

impl KeyFile {
    /// Reads the file at `path`; its SPIFFE IDs have to be of the trust domain.
    pub fn read(path: &Path, trust_domain: Option<&str>) -> Result<Self, String> {
        let (file, keys) = Watched::read(path, |bytes| parse(bytes, trust_domain))?;
        Ok(Self { file, keys, trust_domain: trust_domain.map(str::to_owned) })
    }

    /// The keys, now and whenever the file changes.
    pub(crate) fn follow(self, stop: CancellationToken, tracker: &TaskTracker) -> watch::Receiver<Arc<Keys>> {
        let (told, keys) = watch::channel(self.keys);
        tracker.spawn(async move {
            let again = |bytes: &[u8]| parse(bytes, self.trust_domain.as_deref());
            let tell = |keys| drop(told.send_replace(keys));
            self.file.follow(again, tell, stop).await;
        });
        keys
    }
}

fn parse(bytes: &[u8], trust_domain: Option<&str>) -> Result<Arc<Keys>, String> {
    let keys = Keys::parse(bytes)?;
    for key in keys.iter() {
        let Credential::Certificate(id) = &key.credential else { continue };
        if trust_domain != Some(id.trust_domain()) {
            let problem = "spiffe_id is of another trust domain than callers.trust_domain";
            return Err(format!("key {:?}: {problem}", key.name));
        }
    }
    Ok(Arc::new(keys))
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
        assert_eq!(key.credential, Credential::Key([0xab; 32]));
        assert_eq!((key.concurrent, key.per_minute), (Some(2), Some(60)));
        assert!(key.models.is_none() && key.is_valid_at(i64::MAX));
        let ends = entry("").replace("never", "2027-01-01T00:00:00Z").replace('*', "m");
        let keys = parse(&ends).unwrap();
        let key = keys.named("a").unwrap();
        assert!(key.is_valid_at(1_798_761_599) && !key.is_valid_at(1_798_761_600));
        assert_eq!(key.models.as_deref(), Some(&["m".to_owned()][..]));
        assert_eq!(parse("").unwrap().iter().count(), 0, "nobody may ask");
    }

    #[test]
    fn a_caller_by_certificate_is_of_the_trust_domain_that_is_asked_for() {
        let by_id = |id: &str| {
            entry("").replace(&format!("sha256 = \"{}\"", "ab".repeat(32)), &format!("spiffe_id = \"{id}\""))
        };
        let file = format!("version = 1\n{}", by_id("spiffe://hospital.example/ward"));
        assert!(super::parse(file.as_bytes(), Some("hospital.example")).is_ok());
        for other in [None, Some("example"), Some("bank.example")] {
            assert!(super::parse(file.as_bytes(), other).unwrap_err().contains("another trust domain"));
        }
        assert!(parse(&by_id("ward")).unwrap_err().contains("spiffe_id: a caller's ID is"));
        let both = entry("spiffe_id = \"spiffe://hospital.example/ward\"\n");
        let neither = by_id("").replace("spiffe_id = \"\"", "");
        for text in [both, neither] {
            assert!(parse(&text).unwrap_err().contains("either sha256 or spiffe_id"));
        }
        let twice =
            format!("{}{}", by_id("spiffe://d/a"), by_id("spiffe://d/a").replace("\"a\"\n", "\"b\"\n"));
        assert!(parse(&twice).unwrap_err().contains("of another"));
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
        let mut keys = KeyFile::read(file.path(), None).unwrap().follow(stop.clone(), &tracker);
        write("nonsense");
        tokio::time::sleep(std::time::Duration::from_secs(15)).await;
        assert!(!keys.has_changed().unwrap());
        write(&entry(""));
        keys.changed().await.unwrap();
        assert_eq!(keys.borrow().iter().count(), 1);
        stop.cancel();
        tracker.close();
        tracker.wait().await;
    }
}
