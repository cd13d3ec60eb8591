//! What a key is. The reference (docs/configuration.md), the samples and `--check-config` all show
//! these facts, which come from the getters that read the key and from nowhere else.

use std::fmt;

use toml::Value;

/// A key that a configuration file may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its name; dots lead into tables.
    pub name: String,
    /// What it is for, in one sentence.
    pub purpose: &'static str,
    /// Type of its value; where that is a unit, the value is a whole number of them.
    pub kind: &'static str,
    /// What the value may be; empty where the type says it all.
    pub range: String,
    /// What holds where the file does not have it.
    pub absent: Absent,
    /// What the file says.
    pub given: Option<Value>,
}

/// What holds where a file does not have a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Absent {
    /// The file is refused.
    Refused,
    /// What the key is for is not done.
    Unset,
    /// This value.
    Default(Value),
}

impl Key {
    /// A key that must be there.
    pub(super) fn new(name: &str, purpose: &'static str, kind: &'static str) -> Self {
        let (range, absent) = (String::new(), Absent::Refused);
        Self { name: name.to_owned(), purpose, kind, range, absent, given: None }
    }

    pub(super) fn within(self, range: impl Into<String>) -> Self {
        Self { range: range.into(), ..self }
    }

    pub(super) fn or(self, absent: Absent) -> Self {
        Self { absent, ..self }
    }
}

/// As `--check-config` shows it: the value in force, and whether that is the default.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.given, &self.absent) {
            (Some(value), _) => write!(f, "{} = {value}", self.name),
            (None, Absent::Default(value)) => write!(f, "{} = {value}  (default)", self.name),
            (None, Absent::Unset | Absent::Refused) => write!(f, "{}  (not set)", self.name),
        }
    }
}
