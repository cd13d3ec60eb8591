//! `cube policy diff`.

use std::io::{self, Write};

use serde_json::{Value, json};
use snp_evidence::{Change, Direction, Statement};

use super::words;
use crate::{
    args::policy::DiffArgs,
    failure::Failure,
    input,
    table::{self, Output, printable},
};

/// As diff has it: the files were compared, and differ.
const DIFFER: u8 = 1;

pub(crate) fn run(args: &DiffArgs) -> Result<u8, Failure> {
    let (from, to) = (input::policy(&args.from)?, input::policy(&args.to)?);
    let (same, changes): (Vec<_>, Vec<_>) =
        from.compare(&to).into_iter().partition(|change| change.direction == Direction::Same);
    if args.json {
        writeln!(table::stdout(), "{:#}", as_json(&changes, same.len()))?;
    } else {
        show(&changes, same.len(), &mut table::stdout())?;
    }
    Ok(if changes.is_empty() { 0 } else { DIFFER })
}

fn show<W: Write>(changes: &[Change], same: usize, out: &mut Output<W>) -> io::Result<()> {
    for Change { from, to, direction } in changes {
        let (name, colour) = name(*direction);
        let name = out.paint(colour, &format!("{name:8}"));
        writeln!(out, "{name}  {}", from.id)?;
        writeln!(out, "          A: {}", printable(&words(from)))?;
        writeln!(out, "          B: {}", printable(&words(to)))?;
    }
    let count = |which: Direction| changes.iter().filter(|change| change.direction == which).count();
    writeln!(
        out,
        "of B's rules {} stricter, {} looser, {} other, {} the same for another reason, {same} the same",
        count(Direction::Stricter),
        count(Direction::Looser),
        count(Direction::Other),
        count(Direction::Reason),
    )
}

fn name(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Stricter => ("stricter", "32"),
        Direction::Looser => ("looser", "31"),
        Direction::Other => ("other", "33"),
        Direction::Reason => ("reason", "2"),
        Direction::Same => ("same", "2"),
    }
}

fn as_json(changes: &[Change], same: usize) -> Value {
    let side = |statement: &Statement| json!({"setting": statement.setting, "demand": statement.demand, "reason": statement.reason});
    let change = |change: &Change| {
        json!({
            "id": change.from.id,
            "direction": change.direction,
            "a": side(&change.from),
            "b": side(&change.to),
        })
    };
    json!({"changes": changes.iter().map(change).collect::<Vec<_>>(), "same": same})
}
