//! Takes rules out of the file by their place; what is left over at the end is unknown.

use std::collections::BTreeMap;

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    PolicyErrors,
    rule::{Chips, Rule},
    values,
};
use crate::product::Product;

/// What a rule's value has to become, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, String>;

pub(super) struct Reader {
    rest: Table,
    lines: Lines,
    problems: Vec<String>,
}

impl Reader {
    pub(super) fn parse(toml: &[u8]) -> Result<Self, PolicyErrors> {
        let text = str::from_utf8(toml).map_err(|_| PolicyErrors(vec!["policy is not UTF-8".to_owned()]))?;
        let (table, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        // Duplicate keys are found here: TOML forbids them.
        let rest = if errors.is_empty() { text.parse().map_err(|error| vec![error]) } else { Err(errors) };
        match rest {
            Ok(rest) => Ok(Self { rest, lines: Lines::of(text, table.get_ref()), problems: Vec::new() }),
            Err(errors) => {
                let ends = ends(text);
                Err(PolicyErrors(errors.iter().map(|error| not_toml(&ends, error)).collect()))
            }
        }
    }

    pub(super) fn version(&mut self) {
        if self.take("version").is_some_and(|version| version != Value::Integer(1)) {
            self.object("version", "this program reads policies of version 1");
        }
    }

    /// A rule that may be off with a reason.
    pub(super) fn rule<T>(&mut self, id: &str, on: impl FnOnce(Value) -> Parsed<T>) -> Rule<T> {
        let Some(value) = self.take(id) else { return Rule::Unreadable };
        match off(&value) {
            Some(Ok(reason)) => Rule::Off(reason),
            Some(Err(problem)) => self.problem(id, &problem),
            None => on(value).map_or_else(|problem| self.problem(id, &problem), Rule::On),
        }
    }

    /// A rule that has no off switch.
    pub(super) fn always_on<T>(&mut self, id: &str, on: impl FnOnce(Value) -> Parsed<T>) -> Rule<T> {
        let Some(value) = self.take(id) else { return Rule::Unreadable };
        on(value).map_or_else(|problem| self.problem(id, &problem), Rule::On)
    }

    pub(super) fn chips(&mut self, product: Product) -> Chips {
        let id = format!("product.{product}");
        let Some(value) = self.take(&id) else { return Chips::Listed(Vec::new()) };
        values::chips(value, product).unwrap_or_else(|problem| {
            self.object(&id, &problem);
            Chips::Listed(Vec::new())
        })
    }

    /// Every rule was taken, and each was right.
    pub(super) fn finish(mut self) -> Result<(), PolicyErrors> {
        unknown("", &self.rest, &self.lines, &mut self.problems);
        if self.problems.is_empty() { Ok(()) } else { Err(PolicyErrors(self.problems)) }
    }

    fn problem<T>(&mut self, id: &str, problem: &str) -> Rule<T> {
        self.object(id, problem);
        Rule::Unreadable
    }

    fn object(&mut self, id: &str, problem: &str) {
        self.problems.push(format!("{}{id}: {problem}", self.lines.before(id)));
    }

    fn take(&mut self, id: &str) -> Option<Value> {
        let value = match id.split_once('.') {
            None => self.rest.remove(id),
            Some((section, key)) => {
                self.rest.get_mut(section).and_then(Value::as_table_mut).and_then(|table| table.remove(key))
            }
        };
        if value.is_none() {
            self.problems.push(format!("{id}: missing; every check has to be stated"));
        }
        value
    }
}

/// `{ off = "reason" }`; `None` if the rule is not off.
fn off(value: &Value) -> Option<Parsed<String>> {
    let table = value.as_table()?;
    let reason = table.get("off")?;
    Some(match reason.as_str() {
        Some(reason) if table.len() == 1 && !reason.trim().is_empty() => Ok(reason.to_owned()),
        _ => Err("off stands alone and needs a reason: { off = \"why\" }".to_owned()),
    })
}

/// Names what nobody took; emptied sections are fine.
fn unknown(prefix: &str, table: &Table, lines: &Lines, problems: &mut Vec<String>) {
    for (key, value) in table {
        let id = format!("{prefix}{key}");
        let section = value.as_table().filter(|_| prefix.is_empty() && SECTIONS.contains(&key.as_str()));
        match section {
            Some(section) => unknown(&format!("{id}."), section, lines, problems),
            None => problems.push(format!("{}{id}: unknown", lines.before(&id))),
        }
    }
}

const SECTIONS: [&str; 5] = ["product", "guest_policy", "tcb", "vlek", "instance"];

/// On which line each rule stands.
struct Lines {
    /// Where each key begins, in bytes.
    keys: BTreeMap<String, usize>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Lines {
    fn of(text: &str, file: &DeTable<'_>) -> Self {
        let mut keys = BTreeMap::new();
        for (key, value) in file {
            keys.insert(key.get_ref().to_string(), key.span().start);
            if let DeValue::Table(section) = value.get_ref() {
                let rules = section
                    .keys()
                    .map(|rule| (format!("{}.{}", key.get_ref(), rule.get_ref()), rule.span().start));
                keys.extend(rules);
            }
        }
        Self { keys, ends: ends(text) }
    }

    /// `line 12: `, or nothing for a rule that is not in the file.
    fn before(&self, id: &str) -> String {
        self.keys.get(id).map_or_else(String::new, |start| format!("line {}: ", line(&self.ends, *start)))
    }
}

fn not_toml(ends: &[usize], error: &toml::de::Error) -> String {
    let place = error.span().map_or_else(String::new, |span| format!("line {}: ", line(ends, span.start)));
    format!("{place}policy is not TOML: {}", error.message())
}

fn ends(text: &str) -> Vec<usize> {
    text.match_indices('\n').map(|(at, _)| at).collect()
}

/// Counted from one.
fn line(ends: &[usize], at: usize) -> usize {
    1 + ends.partition_point(|end| *end < at)
}
