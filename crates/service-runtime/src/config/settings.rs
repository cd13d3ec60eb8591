//! A TOML file that is read key by key, so that one run finds every problem of it.

use std::{
    collections::BTreeSet, fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration,
};

use toml::{Table, Value};

use super::{Problems, read_config_file};

/// Past a day a limit is a mistake.
const MOST_SECONDS: u32 = 86_400;

/// The keys that nobody asked for yet, and the problems so far. A getter that gives
/// `None` has noted why, except where the key is optional.
#[derive(Debug)]
pub struct Settings {
    /// Paths are relative to it.
    folder: PathBuf,
    rest: Table,
    asked: BTreeSet<String>,
    pub(super) problems: Problems,
}

impl Settings {
    /// Reads `bytes`, which come from a file in `folder`. What is no TOML is one
    /// problem, and leaves no key to look at.
    pub(crate) fn parse(folder: PathBuf, bytes: &[u8]) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let text = problems.take("encoding", std::str::from_utf8(bytes));
        match text.and_then(|text| problems.take("TOML", text.parse())) {
            Some(rest) => Ok(Self { folder, rest, asked: BTreeSet::new(), problems }),
            None => Err(problems),
        }
    }

    /// A text that must be there, as `parse` reads it.
    pub fn parsed<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.required(key)?;
        let text = self.as_text(key, &value)?;
        self.problems.take(key, parse(text))
    }

    /// Like [`Settings::parsed`], for a key that may be left out.
    pub fn parsed_or<T, E: Display>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        let value = self.take(key);
        let text = value.as_ref().and_then(|value| self.as_text(key, value));
        text.and_then(|text| self.problems.take(key, parse(text))).unwrap_or(default)
    }

    /// Texts that must be there, at least one.
    pub fn list<T, E: Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
        let value = self.required(key)?;
        let values = value.as_array().filter(|values| !values.is_empty());
        let mistake = "must be a list of texts with at least one";
        let values = self.problems.take(key, values.ok_or(mistake))?;
        let read = |value| self.as_text(key, value).and_then(|text| self.problems.take(key, parse(text)));
        // Collected twice, so that the first bad one does not hide the others.
        values.iter().map(read).collect::<Vec<_>>().into_iter().collect()
    }

    /// What `parse` makes of the file that `key` names.
    pub fn file<T, E: Display>(&mut self, key: &str, parse: impl FnOnce(&[u8]) -> Result<T, E>) -> Option<T> {
        let path = self.path(key)?;
        let bytes = self.problems.take(key, read_config_file(&path))?;
        let place = format!("{key}: {}", path.display());
        self.problems.take(&place, parse(&bytes))
    }

    /// A path that must be there; a relative one starts at the folder of the file that says it.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let folder = self.folder.clone();
        self.parsed(key, |text| named(text).map(|name| folder.join(name)))
    }

    /// Like [`Settings::path`], for a key that may be left out.
    pub fn optional_path(&mut self, key: &str) -> Option<PathBuf> {
        let folder = self.folder.clone();
        self.parsed_or(key, None, |text| named(text).map(|name| Some(folder.join(name))))
    }

    /// Like [`Settings::file`], for a key that may be left out.
    pub fn optional_file<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        if self.has(key) { self.file(key, parse) } else { None }
    }

    /// An address and port, where the key is not left out.
    pub fn optional_address(&mut self, key: &str) -> Option<SocketAddr> {
        if self.has(key) { self.address(key) } else { None }
    }

    /// An address and port that must be there.
    pub fn address(&mut self, key: &str) -> Option<SocketAddr> {
        self.parsed(key, socket_address)
    }

    /// Like [`Settings::address`], where what goes there must not leave the machine.
    pub fn loopback(&mut self, key: &str) -> Option<SocketAddr> {
        self.parsed(key, |text| match socket_address(text)? {
            address if address.ip().is_loopback() => Ok(address),
            address => Err(format!("{address} is not a loopback address; it must not leave this machine")),
        })
    }

    /// A whole number that must be there.
    pub fn number(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.required(key)?;
        self.as_number(key, &value, range)
    }

    /// Like [`Settings::number`], for a key that may be left out.
    pub fn number_or(&mut self, key: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let value = self.take(key);
        value.and_then(|value| self.as_number(key, &value, range)).unwrap_or(default)
    }

    /// A limit in seconds, up to a day.
    pub fn seconds(&mut self, key: &str, default: Duration) -> Duration {
        let seconds = self.limit(key, MOST_SECONDS);
        seconds.map_or(default, |seconds| Duration::from_secs(seconds.into()))
    }

    /// A limit that counts something.
    pub fn count<N: TryFrom<u32>>(&mut self, key: &str, default: N) -> N {
        self.limit(key, u32::MAX).and_then(|count| N::try_from(count).ok()).unwrap_or(default)
    }

    /// The keys that this file may have, or every problem; a key that nobody asked for is one.
    pub(crate) fn finish(mut self) -> Result<BTreeSet<String>, Problems> {
        let rest = std::mem::take(&mut self.rest);
        self.refuse_unknown("", &rest);
        if self.problems.is_empty() { Ok(self.asked) } else { Err(self.problems) }
    }

    fn refuse_unknown(&mut self, prefix: &str, table: &Table) {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            let section = format!("{name}.");
            let known = self.asked.iter().any(|asked| asked.starts_with(&section));
            match value.as_table() {
                Some(inner) if known => self.refuse_unknown(&section, inner),
                _ if known => self.problems.push(format!("{name}: must be a table, [{name}]")),
                _ => self.problems.push(format!("{name}: unknown key; remove it")),
            }
        }
    }

    fn limit(&mut self, key: &str, most: u32) -> Option<u32> {
        let value = self.take(key)?;
        self.as_number(key, &value, 1..=most)
    }

    fn as_number(&mut self, key: &str, value: &Value, range: RangeInclusive<u32>) -> Option<u32> {
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        let (least, most) = range.into_inner();
        let mistake = || format!("{key}: must be a whole number from {least} to {most}");
        self.problems.require(number.is_some(), mistake);
        number
    }

    fn as_text<'v>(&mut self, key: &str, value: &'v Value) -> Option<&'v str> {
        let mistake = || format!("is of type {}, must be a text in quotes", value.type_str());
        self.problems.take(key, value.as_str().ok_or_else(mistake))
    }

    /// Whether the file says `key`, which it may.
    fn has(&mut self, key: &str) -> bool {
        self.asked.insert(key.to_owned());
        let mut steps = key.split('.');
        let first = steps.next().and_then(|name| self.rest.get(name));
        steps.try_fold(first, |value, step| Some(value?.get(step))).flatten().is_some()
    }

    fn required(&mut self, key: &str) -> Option<Value> {
        let value = self.take(key);
        self.problems.require(value.is_some(), || format!("{key}: is missing"));
        value
    }

    /// Takes `key`, in which dots lead into tables.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.insert(key.to_owned());
        let mut steps = key.split('.').rev();
        let name = steps.next()?;
        let table = steps.rev().try_fold(&mut self.rest, |table, step| table.get_mut(step)?.as_table_mut());
        table?.remove(name)
    }
}

fn named(text: &str) -> Result<&str, &'static str> {
    if text.is_empty() { Err("is empty; name a path") } else { Ok(text) }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not ADDRESS:PORT"))
}

#[cfg(test)]
mod tests;
