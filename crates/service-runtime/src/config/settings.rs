//! A TOML file that is read key by key, so that one run finds every problem of it.
//!
//! Every getter takes the key and the sentence that says what it is for: there is no key without one.

use std::{
    fmt::Display,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{Table, Value};

use super::{
    Problems,
    key::{Absent, Key},
    read_config_file,
};

/// Past a day a limit is a mistake.
const MOST_SECONDS: u32 = 86_400;

/// The keys that nobody asked for yet, and the problems so far. A getter that gives
/// `None` has noted why, except where the key is optional.
#[derive(Debug)]
pub struct Settings {
    /// Paths are relative to it.
    folder: PathBuf,
    rest: Table,
    keys: Vec<Key>,
    pub(super) problems: Problems,
}

impl Settings {
    /// Reads `bytes`, which come from a file in `folder`. What is no TOML is one
    /// problem, and leaves no key to look at.
    pub(crate) fn parse(folder: PathBuf, bytes: &[u8]) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let text = problems.take("encoding", std::str::from_utf8(bytes));
        match text.and_then(|text| problems.take("TOML", text.parse())) {
            Some(rest) => Ok(Self { folder, rest, keys: Vec::new(), problems }),
            None => Err(problems),
        }
    }

    /// The keys that `read` asks for, in its order.
    pub(crate) fn keys_of<T>(read: impl FnOnce(&mut Self) -> T) -> Vec<Key> {
        let (folder, rest, problems) = (PathBuf::new(), Table::new(), Problems::default());
        let mut empty = Self { folder, rest, keys: Vec::new(), problems };
        read(&mut empty);
        empty.keys
    }

    /// A text that must be there, as `parse` reads it; `range` says what it may be.
    pub fn parsed<T, E: Display>(
        &mut self,
        key: &str,
        purpose: &'static str,
        range: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.text(Key::new(key, purpose, "text").within(range), parse)
    }

    /// Like [`Settings::parsed`], for a key that stands at `default` where it is left out.
    pub fn parsed_or<T, E: Display>(
        &mut self,
        key: &str,
        purpose: &'static str,
        range: &'static str,
        default: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let key = Key::new(key, purpose, "text").within(range);
        self.text(key.or(Absent::Default(default.into())), parse)
    }

    /// Like [`Settings::parsed`], for a key that may be left out.
    pub fn optional<T, E: Display>(
        &mut self,
        key: &str,
        purpose: &'static str,
        range: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.text(Key::new(key, purpose, "text").within(range).or(Absent::Unset), parse)
    }

    /// Texts that must be there, at least one.
    pub fn list<T, E: Display>(
        &mut self,
        key: &str,
        purpose: &'static str,
        range: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        self.texts(Key::new(key, purpose, "list of texts").within(range), 1, parse)
    }

    /// Texts, none where the key is left out.
    pub fn list_or_none<T, E: Display>(
        &mut self,
        key: &str,
        purpose: &'static str,
        range: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let none = Absent::Default(Value::Array(Vec::new()));
        let key = Key::new(key, purpose, "list of texts").within(range).or(none);
        self.texts(key, 0, parse).unwrap_or_default()
    }

    fn texts<T, E: Display>(
        &mut self,
        key: Key,
        least: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let name = key.name.clone();
        let value = self.take(key)?;
        let values = value.as_array().filter(|values| values.len() >= least);
        let mistake =
            if least > 0 { "must be a list of texts with at least one" } else { "must be a list of texts" };
        let values = self.problems.take(&name, values.ok_or(mistake))?;
        let read = |value| self.as_text(&name, value).and_then(|text| self.problems.take(&name, parse(text)));
        // Collected twice, so that the first bad one does not hide the others.
        values.iter().map(read).collect::<Vec<_>>().into_iter().collect()
    }

    /// What `parse` makes of the file that `key` names.
    pub fn file<T, E: Display>(
        &mut self,
        key: &str,
        purpose: &'static str,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        let path = self.path(key, purpose)?;
        self.read_file(key, &path, parse)
    }

    fn read_file<T, E: Display>(
        &mut self,
        key: &str,
        path: &Path,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        let bytes = self.problems.take(key, read_config_file(path))?;
        let place = format!("{key}: {}", path.display());
        self.problems.take(&place, parse(&bytes))
    }

    /// A path that must be there; a relative one starts at the folder of the file that says it.
    pub fn path(&mut self, key: &str, purpose: &'static str) -> Option<PathBuf> {
        let folder = self.folder.clone();
        self.text(Key::new(key, purpose, "path"), |text| named(text).map(|name| folder.join(name)))
    }

    /// Like [`Settings::path`], for a key that may be left out.
    pub fn optional_path(&mut self, key: &str, purpose: &'static str) -> Option<PathBuf> {
        let folder = self.folder.clone();
        let key = Key::new(key, purpose, "path").or(Absent::Unset);
        self.text(key, |text| named(text).map(|name| folder.join(name)))
    }

    /// Like [`Settings::file`], for a key that may be left out.
    pub fn optional_file<T, E: Display>(
        &mut self,
        key: &str,
        purpose: &'static str,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        let path = self.optional_path(key, purpose)?;
        self.read_file(key, &path, parse)
    }

    /// An address and port, where the key is not left out.
    pub fn optional_address(&mut self, key: &str, purpose: &'static str) -> Option<SocketAddr> {
        let key = Key::new(key, purpose, "address").within("ADDRESS:PORT");
        self.text(key.or(Absent::Unset), socket_address)
    }

    /// An address and port that must be there.
    pub fn address(&mut self, key: &str, purpose: &'static str) -> Option<SocketAddr> {
        self.text(Key::new(key, purpose, "address").within("ADDRESS:PORT"), socket_address)
    }

    /// Like [`Settings::address`], where what goes there must not leave the machine.
    pub fn loopback(&mut self, key: &str, purpose: &'static str) -> Option<SocketAddr> {
        let key = Key::new(key, purpose, "address").within("ADDRESS:PORT, loopback");
        self.text(key, |text| match socket_address(text)? {
            address if address.ip().is_loopback() => Ok(address),
            address => Err(format!("{address} is not a loopback address; it must not leave this machine")),
        })
    }

    /// A whole number that must be there.
    pub fn number(&mut self, key: &str, purpose: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        self.whole(Key::new(key, purpose, "number"), range)
    }

    /// Like [`Settings::number`], for a key that may be left out.
    pub fn optional_number(
        &mut self,
        key: &str,
        purpose: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        self.whole(Key::new(key, purpose, "number").or(Absent::Unset), range)
    }

    /// Like [`Settings::number`], for a key that stands at `default` where it is left out.
    pub fn number_or(
        &mut self,
        key: &str,
        purpose: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> u32 {
        let key = Key::new(key, purpose, "number").or(default_of(default));
        self.whole(key, range).unwrap_or(default)
    }

    /// A limit in seconds, up to a day.
    pub fn seconds(&mut self, key: &str, purpose: &'static str, default: Duration) -> Duration {
        let key = Key::new(key, purpose, "seconds").or(default_of(default.as_secs()));
        self.whole(key, 1..=MOST_SECONDS).map_or(default, |seconds| Duration::from_secs(seconds.into()))
    }

    /// A limit that counts something.
    pub fn count<N>(&mut self, key: &str, purpose: &'static str, default: N) -> N
    where
        N: Copy + TryFrom<u32> + TryInto<i64>,
    {
        let key = Key::new(key, purpose, "number").or(default_of(default));
        self.whole(key, 1..=u32::MAX).and_then(|count| N::try_from(count).ok()).unwrap_or(default)
    }

    /// A limit in bytes, from `least` on.
    pub fn bytes(&mut self, key: &str, purpose: &'static str, least: usize, default: usize) -> usize {
        let key = Key::new(key, purpose, "bytes").or(default_of(default));
        let least = u32::try_from(least).unwrap_or(u32::MAX);
        self.whole(key, least..=u32::MAX).and_then(|bytes| bytes.try_into().ok()).unwrap_or(default)
    }

    /// What came of `outcome`; a problem with `key` otherwise, which may lie in another key.
    pub fn checked<T, E: Display>(&mut self, key: &str, outcome: Result<T, E>) -> Option<T> {
        self.problems.take(key, outcome)
    }

    /// The keys of this file, or every problem; a key that nobody asked for is one.
    pub(crate) fn finish(mut self) -> Result<Vec<Key>, Problems> {
        let rest = std::mem::take(&mut self.rest);
        self.refuse_unknown("", &rest);
        if self.problems.is_empty() { Ok(self.keys) } else { Err(self.problems) }
    }

    fn refuse_unknown(&mut self, prefix: &str, table: &Table) {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            let section = format!("{name}.");
            let known = self.keys.iter().any(|key| key.name.starts_with(&section));
            match value.as_table() {
                Some(inner) if known => self.refuse_unknown(&section, inner),
                _ if known => self.problems.push(format!("{name}: must be a table, [{name}]")),
                _ => self.problems.push(format!("{name}: unknown key; remove it")),
            }
        }
    }

    fn text<T, E: Display>(&mut self, key: Key, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let name = key.name.clone();
        let value = self.take(key)?;
        let text = self.as_text(&name, &value)?;
        self.problems.take(&name, parse(text))
    }

    fn whole(&mut self, key: Key, range: RangeInclusive<u32>) -> Option<u32> {
        let (name, (least, most)) = (key.name.clone(), (range.start(), range.end()));
        let value = self.take(key.within(format!("{least} to {most}")))?;
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        let is = value.as_integer().map_or_else(|| of_type(&value), |number| number.to_string());
        let mistake = || format!("{name}: is {is}, must be a whole number from {least} to {most}");
        self.problems.require(number.is_some(), mistake);
        number
    }

    fn as_text<'v>(&mut self, key: &str, value: &'v Value) -> Option<&'v str> {
        let mistake = || format!("is {}, must be a text in quotes", of_type(value));
        self.problems.take(key, value.as_str().ok_or_else(mistake))
    }

    /// Takes `key`, in whose name dots lead into tables: what the file says, or the default.
    fn take(&mut self, key: Key) -> Option<Value> {
        let given = remove(&mut self.rest, &key.name);
        let value = match &key.absent {
            Absent::Default(default) => Some(given.clone().unwrap_or_else(|| default.clone())),
            Absent::Refused | Absent::Unset => given.clone(),
        };
        let missing = value.is_none() && key.absent == Absent::Refused;
        self.problems.require(!missing, || format!("{}: is missing", key.name));
        self.keys.push(Key { given, ..key });
        value
    }
}

fn remove(mut table: &mut Table, name: &str) -> Option<Value> {
    let mut steps = name.split('.').rev();
    let last = steps.next()?;
    for step in steps.rev() {
        table = table.get_mut(step)?.as_table_mut()?;
    }
    table.remove(last)
}

fn default_of(number: impl TryInto<i64>) -> Absent {
    Absent::Default(Value::Integer(number.try_into().unwrap_or(i64::MAX)))
}

fn of_type(value: &Value) -> String {
    format!("of type {}", value.type_str())
}

fn named(text: &str) -> Result<&str, &'static str> {
    if text.is_empty() { Err("is empty; name a path") } else { Ok(text) }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not ADDRESS:PORT"))
}

#[cfg(test)]
mod tests;
