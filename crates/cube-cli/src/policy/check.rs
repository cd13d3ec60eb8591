//! `cube policy check`.

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;
use snp_evidence::{ADVISORIES, Advisory, Policy, Setting};

use super::{unfilled, words};
use crate::{
    args::policy::CheckArgs,
    exit::Exit,
    failure::Failure,
    input,
    table::{self, Output, printable},
};

/// What is to be said of one file.
#[derive(Serialize)]
struct Finding {
    file: String,
    /// As `policy_sha256` in measured.toml has to state it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    problems: Vec<String>,
    /// Rules that nothing can meet yet.
    unfilled: Vec<String>,
    weak: Vec<String>,
    off: Vec<String>,
}

pub(crate) fn run(args: &CheckArgs) -> Result<u8, Failure> {
    let findings: Vec<_> = args.files.iter().map(|file| check(file.as_path())).collect();
    if args.json {
        let text = serde_json::to_string_pretty(&findings).map_err(io::Error::from)?;
        writeln!(table::stdout(), "{text}")?;
    } else {
        let mut out = table::stdout();
        findings.iter().try_for_each(|finding| show(finding, &mut out))?;
    }
    let good = findings.iter().all(|finding| finding.problems.is_empty());
    Ok(if good { 0 } else { Exit::Usage as u8 })
}

fn check(path: &Path) -> Finding {
    let file = path.display().to_string();
    match read(path) {
        Ok(policy) => Finding {
            file,
            sha256: Some(hex::encode(policy.sha256())),
            problems: Vec::new(),
            unfilled: unfilled(&policy.statements()).iter().map(|line| line.trim().to_owned()).collect(),
            weak: weak(&policy),
            off: off(&policy),
        },
        Err(problems) => {
            let (unfilled, weak, off) = (Vec::new(), Vec::new(), Vec::new());
            Finding { file, sha256: None, problems, unfilled, weak, off }
        }
    }
}

fn read(path: &Path) -> Result<Policy, Vec<String>> {
    let bytes = input::file(path).map_err(|failure| vec![failure.to_string()])?;
    Policy::parse(&bytes).map_err(|errors| errors.0)
}

/// What it lets through, and the advisories that it does not answer.
fn weak(policy: &Policy) -> Vec<String> {
    let own = policy.weaknesses().into_iter().map(|weak| format!("{}: {}", weak.id, weak.what));
    own.chain(ADVISORIES.iter().filter_map(|advisory| unanswered(advisory, policy))).collect()
}

fn unanswered(advisory: &Advisory, policy: &Policy) -> Option<String> {
    let unmet = advisory.demands.iter().filter(|demand| !demand.met_by(policy));
    let asks: Vec<_> = unmet
        .map(|demand| {
            let product = demand.product.map_or_else(String::new, |product| format!(" for {product}"));
            format!("{}{product}: {}", demand.rule, demand.remedy)
        })
        .collect();
    let Advisory { id, summary, .. } = advisory;
    (!asks.is_empty()).then(|| {
        format!("not asked for because of {id} ({}): {}; {summary}", standing(advisory), asks.join("; "))
    })
}

/// How far an advisory can be relied on.
pub(super) fn standing(advisory: &Advisory) -> String {
    match advisory.confirmed {
        Some(day) => format!("confirmed on {day}"),
        None => format!("UNCONFIRMED as of {}", advisory.as_of),
    }
}

fn off(policy: &Policy) -> Vec<String> {
    let statements = policy.statements();
    let off = statements.iter().filter(|statement| statement.setting == Setting::Off);
    off.map(|statement| format!("{}: {}", statement.id, words(statement))).collect()
}

fn show<W: Write>(finding: &Finding, out: &mut Output<W>) -> io::Result<()> {
    let file = printable(&finding.file);
    let Some(sha256) = &finding.sha256 else {
        writeln!(out, "{file}: {}", out.paint("31", "no policy"))?;
        return list("  ", &finding.problems, out);
    };
    writeln!(out, "{file}: {}", out.paint("32", "ok"))?;
    writeln!(out, "  policy_sha256 = \"{sha256}\"")?;
    let unfilled = out.paint("33", "  to fill in: ");
    list(&unfilled, &finding.unfilled, out)?;
    let weak = out.paint("33", "  weak: ");
    list(&weak, &finding.weak, out)?;
    list("  ", &finding.off, out)
}

fn list<W: Write>(before: &str, lines: &[String], out: &mut Output<W>) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{before}{}", printable(line)))
}
