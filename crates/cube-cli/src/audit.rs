//! `cube audit`: attestation-svc's audit log, read by somebody who does not believe the disk.

use std::io::Write;

use audit_log::{Hash, Summary, VerifyError, verify};
use serde_json::json;

use crate::{
    args::audit::{AuditArgs, AuditCommand, VerifyArgs},
    exit::Exit,
    failure::Failure,
    table,
};

pub(crate) fn run(args: &AuditArgs) -> Result<u8, Failure> {
    let AuditCommand::Verify(VerifyArgs { paths, head, json }) = &args.command;
    let found = verify(paths, *head);
    if let Err(error @ (VerifyError::Read { .. } | VerifyError::Empty(_))) = found {
        return Err(Failure::Usage(error.to_string()));
    }
    let (problem, summary) = match found {
        Ok(summary) => (missing(&summary, *head), Some(summary)),
        Err(broken) => (Some(broken.to_string()), None),
    };
    let text = if *json {
        as_json(summary.as_ref(), problem.as_deref())
    } else {
        lines(summary.as_ref(), problem.as_deref())
    };
    writeln!(table::stdout(), "{}", text.trim_end())?;
    Ok(if problem.is_none() { 0 } else { Exit::Evidence as u8 })
}

fn missing(summary: &Summary, head: Option<Hash>) -> Option<String> {
    let head = head.filter(|_| summary.known.is_none())?;
    Some(format!(
        "no record has the hash {head}: this is another log, its end was cut off, or the record was removed"
    ))
}

fn as_json(summary: Option<&Summary>, problem: Option<&str>) -> String {
    let mut value = json!({ "whole": problem.is_none(), "problem": problem });
    if let (Some(summary), Some(members)) = (summary, value.as_object_mut()) {
        members.insert("segments".to_owned(), summary.segments.into());
        members.insert("oldest".to_owned(), summary.oldest.into());
        members.insert("last".to_owned(), summary.last.into());
        members.insert("head".to_owned(), summary.head.to_string().into());
        members.insert("known".to_owned(), summary.known.into());
        members.insert("events".to_owned(), json!(summary.events));
    }
    format!("{value:#}")
}

fn lines(summary: Option<&Summary>, problem: Option<&str>) -> String {
    let mut lines = Vec::new();
    if let Some(Summary { segments, oldest, last, head, events, known }) = summary {
        lines.push(format!("records   {oldest} to {last}, in {segments} files"));
        if *oldest > 1 {
            lines.push(format!("          those before {oldest} are not here"));
        }
        let counts: Vec<_> = events.iter().map(|(event, count)| format!("{count} {event}")).collect();
        lines.push(format!("events    {}", counts.join(", ")));
        lines.push(format!("head      {head}"));
        lines.extend(known.map(|seq| format!("known     record {seq} is the head that you named")));
    }
    lines.push(match problem {
        None => "whole: each record follows from the one before".to_owned(),
        Some(problem) => format!("BROKEN: {}", table::printable(problem)),
    });
    lines.join("\n")
}
