//! The samples in `deploy/config`: every key with its sentence. Their values are written by hand and
//! kept; a key that a sample leaves out is shown in a comment.

use anyhow::{Context, Result, ensure};
use service_runtime::{Absent, Key};
use toml::{Table, Value};

use crate::{configuration::File, wrapped};

const ABOUT_SAMPLES: &str = " Every key is shown; one in a comment can be left out, and shows its default or an example. \
                             docs/configuration.md has types and ranges.";

/// The sample with the keys and sentences of the code and the values of `old`.
pub(crate) fn renewed(file: &File, old: &str) -> Result<String> {
    let (said, hidden): (Table, Table) = (old.parse()?, uncommented(old).parse()?);
    let mut text = wrapped("#", &[file.about, ABOUT_SAMPLES].concat());
    let mut section = "";
    for key in sorted(&file.keys) {
        let (table, leaf) = split(key);
        ensure!(key.purpose.ends_with('.'), "{} needs a sentence that says what it is for", key.name);
        let (mark, value) = shown(key, &said, &hidden)?;
        text.push('\n');
        if table != section {
            text.extend(["[", table, "]\n"]);
            section = table;
        }
        text.extend([&wrapped("#", key.purpose), mark, leaf, " = ", &value.to_string(), "\n"]);
    }
    for name in names("", &said) {
        ensure!(file.keys.iter().any(|key| key.name == name), "{name} is no key; remove it");
    }
    Ok(text)
}

/// What makes it a comment, where it is one, and the value to show.
fn shown(key: &Key, said: &Table, hidden: &Table) -> Result<(&'static str, Value)> {
    if let Some(value) = get(said, &key.name) {
        return Ok(("", value.clone()));
    }
    let value = match &key.absent {
        Absent::Default(value) => Some(value),
        Absent::Unset => get(hidden, &key.name),
        Absent::Refused => None,
    };
    Ok(("# ", value.with_context(|| format!("write {} with a value to keep", key.name))?.clone()))
}

/// Tables cannot be taken up again: keys without one first, then table by table.
fn sorted(keys: &[Key]) -> Vec<&Key> {
    let place = |table: &str| keys.iter().position(|key| split(key).0 == table);
    let mut sorted: Vec<_> = keys.iter().collect();
    sorted.sort_by_key(|key| Some(split(key).0).filter(|table| !table.is_empty()).map(place));
    sorted
}

/// The table that a key is in, and its name there.
fn split(key: &Key) -> (&str, &str) {
    key.name.rsplit_once('.').unwrap_or(("", &key.name))
}

/// With the values that stand in comments.
fn uncommented(text: &str) -> String {
    let assigns = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', '"']));
    let line = |line| str::strip_prefix(line, "# ").filter(assigns).unwrap_or(line);
    text.lines().map(|text| line(text).to_owned() + "\n").collect()
}

fn get<'t>(table: &'t Table, name: &str) -> Option<&'t Value> {
    match name.split_once('.') {
        Some((first, rest)) => get(table.get(first)?.as_table()?, rest),
        None => table.get(name),
    }
}

fn names(prefix: &str, table: &Table) -> Vec<String> {
    let one = |(name, value): (&String, &Value)| match value.as_table() {
        Some(inner) => names(&format!("{prefix}{name}."), inner),
        None => vec![format!("{prefix}{name}")],
    };
    table.iter().flat_map(one).collect()
}
