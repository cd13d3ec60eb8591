//! Takes rules out of the file by their place; what is left over at the end is unknown.

use toml::{Table, Value};

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
    problems: Vec<String>,
}

impl Reader {
    pub(super) fn parse(toml: &[u8]) -> Result<Self, PolicyErrors> {
        let text = str::from_utf8(toml).map_err(|_| PolicyErrors(vec!["policy is not UTF-8".to_owned()]))?;
        match text.parse() {
            Ok(rest) => Ok(Self { rest, problems: Vec::new() }),
            // Duplicate keys are found here: TOML forbids them.
            Err(error) => Err(PolicyErrors(vec![format!("policy is not TOML: {error}")])),
        }
    }

    pub(super) fn version(&mut self) {
        if self.take("version").is_some_and(|version| version != Value::Integer(1)) {
            self.problems.push("version: this program reads policies of version 1".to_owned());
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
            self.problems.push(format!("{id}: {problem}"));
            Chips::Listed(Vec::new())
        })
    }

    /// Every rule was taken, and each was right.
    pub(super) fn finish(mut self) -> Result<(), PolicyErrors> {
        unknown("", &self.rest, &mut self.problems);
        if self.problems.is_empty() { Ok(()) } else { Err(PolicyErrors(self.problems)) }
    }

    fn problem<T>(&mut self, id: &str, problem: &str) -> Rule<T> {
        self.problems.push(format!("{id}: {problem}"));
        Rule::Unreadable
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
fn unknown(prefix: &str, table: &Table, problems: &mut Vec<String>) {
    for (key, value) in table {
        let section = value.as_table().filter(|_| prefix.is_empty() && SECTIONS.contains(&key.as_str()));
        match section {
            Some(section) => unknown(&format!("{key}."), section, problems),
            None => problems.push(format!("{prefix}{key}: unknown")),
        }
    }
}

const SECTIONS: [&str; 5] = ["product", "guest_policy", "tcb", "vlek", "instance"];
