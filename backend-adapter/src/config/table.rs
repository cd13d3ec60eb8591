//! A TOML table that is read key by key, so that one run finds every problem of it.

use std::time::Duration;

use service_runtime::Problems;
use toml::Value;

/// What has not been read yet, and the problems so far.
pub(super) struct Table {
    rest: toml::Table,
    pub(super) problems: Problems,
}

impl Table {
    pub(super) fn new(table: toml::Table) -> Self {
        Self { rest: table, problems: Problems::default() }
    }

    /// A text that must be there, as `parse` reads it.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let present = self.rest.contains_key(key);
        self.problems.require(present, || format!("{key}: is missing"));
        let text = self.text(key)?;
        self.problems.take(key, parse(&text))
    }

    /// A text that may be absent.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let value = self.take(key)?;
        let complaint = || format!("is a {}, must be a text in quotes", value.type_str());
        let text = value.as_str().map(str::to_owned).ok_or_else(complaint);
        self.problems.take(key, text)
    }

    /// Seconds, up to a day: a longer limit is a mistake.
    pub(super) fn seconds(&mut self, key: &str, default: Duration) -> Duration {
        self.number(key, 86_400).map_or(default, |seconds| Duration::from_secs(seconds.into()))
    }

    /// A count above 0.
    pub(super) fn count<N: TryFrom<u32>>(&mut self, key: &str, default: N) -> N {
        self.number(key, u32::MAX).and_then(|count| N::try_from(count).ok()).unwrap_or(default)
    }

    /// Every problem; a key that nobody read is one.
    pub(super) fn finish(mut self) -> Problems {
        let sections = ["limits", "log"];
        let unread = self.rest.into_iter().flat_map(|(key, value)| match value.as_table() {
            Some(inner) if sections.contains(&key.as_str()) => {
                inner.keys().map(|name| format!("{key}.{name}")).collect()
            }
            Some(_) | None => vec![key],
        });
        unread.for_each(|key| self.problems.push(format!("{key}: unknown key; remove it")));
        self.problems
    }

    fn number(&mut self, key: &str, most: u32) -> Option<u32> {
        let value = self.take(key)?;
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (1..=most).contains(number));
        self.problems.require(number.is_some(), || format!("{key}: must be a whole number from 1 to {most}"));
        number
    }

    /// Takes `key`, or `table.key`.
    fn take(&mut self, key: &str) -> Option<Value> {
        match key.split_once('.') {
            None => self.rest.remove(key),
            Some((table, key)) => self.rest.get_mut(table)?.as_table_mut()?.remove(key),
        }
    }
}
