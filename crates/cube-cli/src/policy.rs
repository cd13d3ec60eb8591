//! `cube policy`: written, checked, explained, compared and imported.

mod check;
mod diff;
mod draft;
mod evidence;
mod explain;
mod import;
mod new;
mod rules;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

use snp_evidence::{Setting, Statement};

use crate::{
    args::policy::{PolicyArgs, PolicyCommand},
    failure::Failure,
    table,
};

pub(crate) async fn run(args: PolicyArgs) -> Result<u8, Failure> {
    match args.command {
        PolicyCommand::New(args) => new::run(&args).await,
        PolicyCommand::Check(args) => check::run(&args),
        PolicyCommand::Explain(args) => explain::run(&args),
        PolicyCommand::Diff(args) => diff::run(&args),
        PolicyCommand::Import(args) => import::run(&args),
    }
}

/// To a new file, so that nobody's policy is lost, or to stdout.
fn write(text: &str, to: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = to else {
        table::stdout().write_all(text.as_bytes())?;
        return Ok(());
    };
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        let hint = if exists { "; choose another name, or remove it first" } else { "" };
        Failure::Usage(format!("cannot write {}: {error}{hint}", path.display()))
    })?;
    table::progress(&format!("wrote {}; read it, then: cube policy check {0}", path.display()));
    Ok(())
}

/// What has to be filled in before anything can pass, with what to put there. That most products, and all VLEKs, are
/// refused is a choice and no gap.
fn unfilled(statements: &[Statement]) -> Vec<String> {
    let empty = |statement: &&Statement| statement.accepts_nothing;
    let line = |statement: &Statement| {
        let advice = rules::text_of(statement.id).map_or("", |rule| rule.advice);
        format!("  {}: {advice}", statement.id)
    };
    let products = |statement: &&Statement| statement.id.starts_with("product.");
    let refused = statements.iter().filter(products).all(|statement| statement.accepts_nothing);
    let wanted =
        |statement: &&Statement| if products(statement) { refused } else { statement.id != "vlek.csp" };
    statements.iter().filter(empty).filter(wanted).map(line).collect()
}

/// A rule in words.
fn words(statement: &Statement) -> String {
    let reason = statement.reason.as_deref().unwrap_or_default();
    match statement.setting {
        Setting::Off => format!("off: {reason}"),
        Setting::Required | Setting::Allowed if reason.is_empty() || statement.demand.contains(reason) => {
            statement.demand.clone()
        }
        Setting::Required | Setting::Allowed => format!("{}: {reason}", statement.demand),
    }
}
