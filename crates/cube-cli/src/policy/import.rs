//! `cube policy import`.

mod cube;
mod fields;
mod guest;

use std::fmt::Display;

use super::{draft::Draft, unfilled, write};
use crate::{
    args::policy::{ImportArgs, Origin},
    failure::Failure,
    input, table,
};

/// Written, and something in the source has to be decided by a human first.
const DECIDE: u8 = 1;

/// A policy being made of another product's, and all that has to be said of it.
pub(crate) struct Import {
    draft: Draft,
    file: String,
    keep_open: Vec<String>,
    /// Checks that the file left out, and why they count as left out.
    open: Vec<(&'static str, String)>,
    carried: usize,
    /// What has no place in our policy.
    dropped: Vec<String>,
    decide: Vec<&'static str>,
    problems: Vec<String>,
}

pub(crate) fn run(args: &ImportArgs) -> Result<u8, Failure> {
    let bytes = input::file(&args.file)?;
    let file = args.file.display().to_string();
    let mut import = Import::new(&file, args.keep_open.clone());
    match args.from {
        Origin::Cube => cube::read(&bytes, &mut import),
    }
    import.refuse_problems()?;
    let (text, policy) = import.draft.finish()?;
    import.tell(&unfilled(&policy.statements()));
    write(&text, args.out.as_deref())?;
    Ok(if import.decide.is_empty() { 0 } else { DECIDE })
}

impl Import {
    fn new(file: &str, keep_open: Vec<String>) -> Self {
        let heading = format!(
            "Imported from {file} by `cube policy import`; docs/spec/policy.md explains each rule. What that file left \
             open is marked, and lets nothing pass until it is set."
        );
        Self {
            draft: Draft::new(heading),
            file: file.to_owned(),
            keep_open,
            open: Vec::new(),
            carried: 0,
            dropped: Vec::new(),
            decide: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn carry(&mut self, rule: &'static str, value: impl Into<String>) {
        self.carried += 1;
        self.draft.set(rule, value, "Imported.");
    }

    /// A check that the file leaves out: strict, unless the user names it.
    fn leave_open(&mut self, rule: &'static str, because: impl Into<String>, strict: impl Into<String>) {
        if self.keep_open.iter().any(|kept| kept == rule) {
            let reason = super::draft::quoted(&format!("was open in {}", self.file));
            let value = match rule.split_once('.') {
                Some(("product", _)) => format!("{{ allow = \"any\", reason = {reason} }}"),
                _ => format!("{{ off = {reason} }}"),
            };
            self.draft.set(rule, value, "Kept open by --keep-open.");
        } else {
            self.draft.set(rule, strict, "Was open.");
        }
        self.open.push((rule, because.into()));
    }

    fn carry_or_leave_open(
        &mut self,
        rule: &'static str,
        value: Option<String>,
        because: &str,
        strict: &str,
    ) {
        match value {
            Some(value) => self.carry(rule, value),
            None => self.leave_open(rule, because, strict),
        }
    }

    fn drop_keys(&mut self, keys: &[String], because: &str) {
        for key in keys {
            self.drop_key(key, because);
        }
    }

    fn drop_key(&mut self, key: impl Display, because: &str) {
        self.dropped.push(format!("{key}: {because}"));
    }

    fn refuse_problems(&mut self) -> Result<(), Failure> {
        for kept in &self.keep_open {
            if !self.open.iter().any(|(rule, _)| rule == kept) {
                self.problems.push(format!("--keep-open {kept}: the file does not leave that open"));
            }
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Failure::Usage(format!("{} cannot be imported:\n  {}", self.file, self.problems.join("\n  "))))
    }

    fn tell(&self, unfilled: &[String]) {
        table::progress(&format!("{}: {} rules carried over", self.file, self.carried));
        table::list("not carried over:", &indented(&self.dropped));
        let open = |(rule, because): &(&str, String)| {
            let kept = self.keep_open.iter().any(|kept| kept == rule);
            format!("  {rule}: {because}; {}", if kept { "kept open" } else { "now strict" })
        };
        let open: Vec<_> = self.open.iter().map(open).collect();
        table::list("left open there, so that anything passed:", &open);
        table::list("nothing passes until these are filled in:", unfilled);
        table::list("decide before you rely on it:", &indented(&self.decide));
    }
}

fn indented(lines: &[impl Display]) -> Vec<String> {
    lines.iter().map(|line| format!("  {line}")).collect()
}
