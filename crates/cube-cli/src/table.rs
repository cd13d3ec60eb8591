//! A judgement as people and programs read it.

use std::io::{self, IsTerminal, Write};

use snp_evidence::CheckResult;

use crate::verdict::{Judgement, Row, Scope, Verdict};

/// The most lines that `--summary` prints.
pub(crate) const SUMMARY_LINES: usize = 12;

/// Longest observed or expected value in a row of the table, in characters.
const CELL: usize = 38;

/// Results: written whole, coloured on a terminal only.
pub(crate) fn stdout() -> Output<io::Stdout> {
    Output::new(io::stdout(), io::stdout().is_terminal())
}

/// Progress of a command that also judges, such as `chat`.
pub(crate) fn stderr() -> Output<io::Stderr> {
    Output::new(io::stderr(), io::stderr().is_terminal())
}

/// Progress, of our own words: what others say has to be made [`printable`] first, or its lines would pass
/// for ours. Where stderr is gone there is nobody to tell.
pub(crate) fn progress(text: &str) {
    let lines: String = text.lines().map(|line| printable(line) + "\n").collect();
    drop(io::stderr().write_all(lines.as_bytes()));
}

/// Several lines of it under a title; nothing where there are none.
pub(crate) fn list(title: &str, lines: &[String]) {
    if !lines.is_empty() {
        progress(title);
    }
    for line in lines {
        progress(line);
    }
}

/// A stream, and whether people look at it: only they get colours, and only
/// their terminal must be kept from being steered.
pub(crate) struct Output<W> {
    terminal: bool,
    to: W,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(to: W, terminal: bool) -> Self {
        Self { terminal, to }
    }

    /// A model's words, at once; a file or pipe gets them as they are.
    pub(crate) fn words(&mut self, text: &str) -> io::Result<()> {
        let shown = |c: &char| !self.terminal || !c.is_control() || matches!(c, '\n' | '\t');
        let text: String = text.chars().filter(shown).collect();
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W> Output<W> {
    pub(crate) fn paint(&self, colour: &str, text: &str) -> String {
        if self.terminal { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn mark(&self, row: &Row) -> String {
        match row.result {
            CheckResult::Pass => self.paint("32", "ok  "),
            CheckResult::NotRequired => self.paint("2", "off "),
            CheckResult::Fail if row.unjudged => self.paint("2", "--  "),
            CheckResult::Fail => self.paint("31", "FAIL"),
        }
    }
}

/// The JSON of design 3, values whole.
pub(crate) fn json(judgement: &Judgement) -> io::Result<()> {
    let text = serde_json::to_string_pretty(judgement)?;
    writeln!(stdout(), "{text}")
}

/// Every check, then the verdict.
pub(crate) fn full<W: Write>(judgement: &Judgement, out: &mut Output<W>) -> io::Result<()> {
    let id = judgement.checks.iter().map(|row| row.id.len()).max().unwrap_or(0);
    let (check, observed, expected) = ("check", "observed", "expected");
    writeln!(out, "     {check:id$}  {observed:CELL$}  {expected:CELL$}  who vouches")?;
    for row in &judgement.checks {
        let (observed, expected) = (cell(&row.observed), cell(&row.expected));
        writeln!(
            out,
            "{} {:id$}  {observed:CELL$}  {expected:CELL$}  {}",
            out.mark(row),
            row.id,
            printable(&row.source)
        )?;
        if row.objects() {
            explain(row, out)?;
        }
    }
    writeln!(out)?;
    conclusion(judgement).into_iter().try_for_each(|line| writeln!(out, "{line}"))?;
    headline(judgement, out)
}

/// At most [`SUMMARY_LINES`] lines: what failed, or what people ask about; the rest is counted.
pub(crate) fn summary<W: Write>(judgement: &Judgement, out: &mut Output<W>) -> io::Result<()> {
    let conclusion = conclusion(judgement);
    // Two lines go to the count and the verdict.
    let room = SUMMARY_LINES.saturating_sub(conclusion.len() + 2);
    let mut lines: Vec<String> = failed(judgement, out).chain(telling(judgement, out)).take(room).collect();
    lines.push(counts(judgement));
    lines.extend(conclusion);
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    headline(judgement, out)
}

/// What an accepted judgement still does not say, and the verdict.
pub(crate) fn limits<W: Write>(judgement: &Judgement, out: &mut Output<W>) -> io::Result<()> {
    conclusion(judgement).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    headline(judgement, out)
}

/// What failed, at most three, each with its fix.
fn failed<W>(judgement: &Judgement, out: &Output<W>) -> impl Iterator<Item = String> {
    let rows = judgement.checks.iter().filter(|row| row.objects());
    rows.take(3).flat_map(|row| [brief(row, out), format!("     fix: {}", printable(&row.fix))])
}

/// The passed checks that people ask about first.
fn telling<W>(judgement: &Judgement, out: &Output<W>) -> impl Iterator<Item = String> {
    let row =
        |id: &&str| judgement.checks.iter().find(|row| row.id == *id && row.result == CheckResult::Pass);
    TELLING.iter().filter_map(row).map(|row| brief(row, out))
}

/// In the order of the proof: hardware, machine, software, deployment, connection.
const TELLING: &[&str] = &[
    "chain.pinned_root",
    "report.signature",
    "guest_policy.debug",
    "measurement",
    "host_data",
    "report_data",
    "manifest.tls_key",
];

fn brief<W>(row: &Row, out: &Output<W>) -> String {
    format!("{} {:18}  {:CELL$}  {}", out.mark(row), row.id, cell(&row.observed), printable(&row.source))
}

fn counts(judgement: &Judgement) -> String {
    let count = |which: CheckResult| judgement.checks.iter().filter(|row| row.result == which).count();
    let (passed, off) = (count(CheckResult::Pass), count(CheckResult::NotRequired));
    let failed = count(CheckResult::Fail);
    format!("     {passed} checks passed, {failed} did not, {off} are not required; --json shows all")
}

/// What every verdict must say beside the word.
fn conclusion(judgement: &Judgement) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(report) = &judgement.report {
        let measurement = cell(&hex::encode(&report.measurement));
        lines.push(format!("     {}, report v{}, measurement {measurement}", report.product, report.version));
    }
    if judgement.verdict == Verdict::Simulated {
        lines.push("     SIMULATED HARDWARE: a program made this evidence. Nothing is proven.".to_owned());
    }
    lines.extend(judgement.checks.iter().filter_map(caveat));
    if judgement.spki_only {
        lines.push("     binding tls-spki: does not stop a holder of the gateway's TLS key".to_owned());
    }
    if judgement.scope == Scope::Report {
        lines.push("     stored report: neither freshness nor channel is judged".to_owned());
    }
    if judgement.scope == Scope::Quote {
        lines.push(
            "     Azure: the measurement is the paravisor's; with it and id_key off, anybody's vTPM passes"
                .to_owned(),
        );
        lines.push("     neither the guest's own software (in the PCRs) nor a channel is judged".to_owned());
    }
    lines
}

/// Limits of the proof that the user's own policy accepts.
fn caveat(row: &Row) -> Option<String> {
    match row.id.as_str() {
        "measurement" if row.expected.contains(KERNEL_ONLY) => {
            Some("     the measurement covers the kernel only: the host can change the programs".to_owned())
        }
        "measurement" if row.result == CheckResult::NotRequired => {
            Some(format!("     software is not judged: measurement {}", printable(&row.expected)))
        }
        "gpu_evidence" if row.result == CheckResult::NotRequired => {
            Some(format!("     only CPU memory is proven: gpu_evidence {}", printable(&row.expected)))
        }
        _ => None,
    }
}

/// Said by a measurement rule with `covers = "kernel-only"`.
const KERNEL_ONLY: &str = "the host can change the programs";

fn headline<W: Write>(judgement: &Judgement, out: &mut Output<W>) -> io::Result<()> {
    let colour = match judgement.verdict {
        Verdict::Trusted => "1;32",
        Verdict::Genuine | Verdict::Simulated => "1;33",
        Verdict::Refused | Verdict::Unavailable => "1;31",
    };
    let because =
        judgement.reason.as_ref().map_or_else(String::new, |reason| format!(", because of {reason}"));
    let word = out.paint(colour, judgement.verdict.as_str());
    writeln!(out, "verdict: {word}{because} (exit code {})", judgement.exit_code())
}

fn explain<W: Write>(row: &Row, out: &mut Output<W>) -> io::Result<()> {
    for (what, text) in [("observed", &row.observed), ("expected", &row.expected), ("fix", &row.fix)] {
        if !text.is_empty() && (what == "fix" || cell(text) != **text) {
            writeln!(out, "       {what}: {}", printable(text))?;
        }
    }
    Ok(())
}

/// A value short enough for a column: long hexadecimal keeps its ends.
fn cell(text: &str) -> String {
    let words: Vec<String> = printable(text).split(' ').map(abbreviated).collect();
    cut(&words.join(" "), CELL)
}

fn abbreviated(word: &str) -> String {
    let bare = word.trim_end_matches([',', ';', ')']);
    let hex = bare.len() > 20 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (bare.get(..8), bare.get(bare.len().saturating_sub(8)..), word.get(bare.len()..)) {
        (Some(head), Some(tail), Some(rest)) if hex => format!("{head}…{tail}{rest}"),
        _ => word.to_owned(),
    }
}

fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// Strangers' text must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_hexadecimal_keeps_its_ends_and_other_words_stay() {
        assert_eq!(cell(&"ab".repeat(48)), "abababab…abababab");
        assert_eq!(cell("one of 1.55.40, 1.2"), "one of 1.55.40, 1.2");
        assert_eq!(cell(&"word ".repeat(40)).chars().count(), CELL);
    }

    #[test]
    fn a_strangers_text_hides_no_failure() {
        let row = |unjudged| Row {
            id: "manifest.trust_domain".to_owned(),
            result: CheckResult::Fail,
            unjudged,
            observed: "not judged: said the manifest".to_owned(),
            expected: String::new(),
            source: String::new(),
            fix: String::new(),
        };
        let out = Output::new(Vec::<u8>::new(), false);
        assert_eq!((out.mark(&row(false)), row(false).objects()), ("FAIL".to_owned(), true));
        assert_eq!((out.mark(&row(true)), row(true).objects()), ("--  ".to_owned(), false));
    }

    #[test]
    fn a_models_words_cannot_steer_the_terminal_and_reach_files_unchanged() {
        for (terminal, shown) in [(true, "a[2Jb\n"), (false, "a\x1b[2Jb\n")] {
            let mut out = Output::new(Vec::new(), terminal);
            out.words("a\x1b[2Jb\n").unwrap();
            assert_eq!(out.to, shown.as_bytes());
        }
    }

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        assert!(!printable("\x1b]0;owned\x07").contains(['\x1b', '\x07']));
    }
}
