//! A policy being written: every rule with its value and the comments above it.

use std::collections::BTreeMap;

use snp_evidence::Policy;

use super::rules::{RULES, RuleText};
use crate::failure::Failure;

/// Longest line of a comment, in characters.
const WIDTH: usize = 116;

/// Rules as they stand until somebody sets them, in [`RULES`]; comments say why.
pub(crate) struct Draft {
    heading: String,
    set: BTreeMap<&'static str, (String, String)>,
}

impl Draft {
    pub(crate) fn new(heading: String) -> Self {
        Self { heading, set: BTreeMap::new() }
    }

    /// States a rule, and where the value is from.
    pub(crate) fn set(&mut self, rule: &'static str, value: impl Into<String>, note: impl Into<String>) {
        self.set.insert(rule, (value.into(), note.into()));
    }

    /// The file, and the policy that it is: a draft that the reader refuses is a defect of ours.
    pub(crate) fn finish(&self) -> Result<(String, Policy), Failure> {
        let text = self.text();
        let policy = Policy::parse(text.as_bytes());
        policy.map(|policy| (text, policy)).map_err(|errors| Failure::Usage(format!("defect: {errors}")))
    }

    fn text(&self) -> String {
        let mut text = comment(&self.heading);
        text.push_str("version = 1\n");
        let mut section = "";
        for rule in RULES {
            let (own, key) = rule.id.split_once('.').unwrap_or(("", rule.id));
            if own != section {
                section = own;
                text.extend(["\n[", section, "]"]);
            }
            text.push('\n');
            text.push_str(&self.rule(rule, key));
        }
        text
    }

    fn rule(&self, rule: &RuleText, key: &str) -> String {
        let (value, note) = self.set.get(rule.id).map_or((rule.safe, ""), |(value, note)| (value, note));
        let mut text = comment(&format!("Stops {}.", rule.stops));
        text.push_str(&comment(rule.advice));
        text.push_str(&comment(note));
        text.extend([key, " = ", value, "\n"]);
        text
    }
}

/// `{ off = "reason" }`, whatever characters the reason has.
pub(crate) fn off(reason: &str) -> String {
    format!("{{ off = {} }}", quoted(reason))
}

/// A TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Lines that begin with `#`; none for no words. Control characters, which comments may not have, are left out.
fn comment(words: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}
