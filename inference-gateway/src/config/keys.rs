//! A TOML table that is read key by key, so that every problem of it is found.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, time::Duration};

use service_runtime::Problems;
use toml::{Table, Value};

/// The keys that were not read yet, and the problems so far.
pub(super) struct Keys {
    table: Table,
    pub(super) problems: Problems,
}

impl Keys {
    pub(super) fn new(table: Table, problems: Problems) -> Self {
        Self { table, problems }
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let Some(value) = self.take(key) else {
            self.problems.push(format!("{key}: is missing"));
            return None;
        };
        self.as_text(key, value)
    }

    pub(super) fn text_or(&mut self, key: &str, default: &str) -> String {
        self.take(key).and_then(|value| self.as_text(key, value)).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn file(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let text = self.text(key)?;
        let parsed = text.parse().map_err(|_| format!("{text:?} is not ADDRESS:PORT"));
        self.problems.take(key, parsed)
    }

    /// An address of this machine: what goes there must not leave the CVM.
    pub(super) fn loopback(&mut self, key: &str) -> Option<SocketAddr> {
        let address = self.address(key)?;
        let complaint = || format!("{key}: {address} is not a loopback address");
        self.problems.require(address.ip().is_loopback(), complaint);
        Some(address)
    }

    pub(super) fn seconds(&mut self, key: &str, default: Duration) -> Duration {
        // A day: past it a limit is a mistake, and sums of limits could overflow.
        self.positive(key, 86_400_u32).map_or(default, |seconds| Duration::from_secs(seconds.into()))
    }

    pub(super) fn count<N: TryFrom<u32>>(&mut self, key: &str, default: N) -> N {
        self.positive(key, u32::MAX).and_then(|count| N::try_from(count).ok()).unwrap_or(default)
    }

    /// The problems, with each key that nobody asked for.
    pub(super) fn finish(mut self) -> Problems {
        for (key, value) in self.table {
            if let Value::Table(inner) = value {
                inner.keys().for_each(|name| unknown(&mut self.problems, format!("{key}.{name}")));
            } else {
                unknown(&mut self.problems, key);
            }
        }
        self.problems
    }

    fn positive(&mut self, key: &str, most: u32) -> Option<u32> {
        let value = self.take(key)?;
        let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
        let valid = count.filter(|count| (1..=most).contains(count));
        self.problems.require(valid.is_some(), || format!("{key}: must be a whole number from 1 to {most}"));
        valid
    }

    fn as_text(&mut self, key: &str, value: Value) -> Option<String> {
        let kind = value.type_str();
        let Value::String(text) = value else {
            self.problems.push(format!("{key}: is of type {kind}, must be a text in quotes"));
            return None;
        };
        Some(text)
    }

    /// Takes `key`, or `table.key`.
    fn take(&mut self, key: &str) -> Option<Value> {
        match key.split_once('.') {
            None => self.table.remove(key),
            Some((table, key)) => self.table.get_mut(table)?.as_table_mut()?.remove(key),
        }
    }
}

fn unknown(problems: &mut Problems, key: impl Display) {
    problems.push(format!("{key}: unknown key; remove it"));
}
