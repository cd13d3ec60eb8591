//! `docs/peers-verdicts.md`: people write why verdicts differ, the run writes the verdicts.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{Verdict, Verdicts, peers::Peer};

const REASONS: &str = "## Why they differ";
const BEGIN: &str = "<!-- Written by `cargo xtask conformance snp-peers`; edits are lost. -->";
const END: &str = "<!-- End of what is written. -->";

pub(super) struct Document {
    path: PathBuf,
    text: String,
    explanations: Vec<Explanation>,
}

/// A row under [`REASONS`]: peers, what ours says, what theirs say, and why. Of ours the reason is given, of theirs some
/// of their words; `accepts` is written where the evidence is accepted.
struct Explanation {
    row: String,
    peers: Vec<String>,
    ours: String,
    theirs: String,
    why: String,
    /// Peers of which it explained something.
    held: BTreeSet<String>,
}

impl Document {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), ..Self::parse(&text)? })
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let reasons = text.split_once(REASONS).with_context(|| format!("no {REASONS:?}"))?.1;
        let reasons = reasons.split("\n## ").next().unwrap_or(reasons);
        let rows = reasons.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| peers |"));
        let explanations = rows.map(explanation).collect::<Result<_>>()?;
        Ok(Self { path: PathBuf::new(), text: text.to_owned(), explanations })
    }

    /// Why this peer differs from us here, and a note that this explanation still holds.
    pub(super) fn explain(&mut self, peer: &str, ours: &Verdict, theirs: &Verdict) -> Option<String> {
        let found = self.explanations.iter_mut().find(|explanation| {
            explanation.peers.iter().any(|named| named == peer)
                && if ours.accepts { explanation.ours == ACCEPTS } else { explanation.ours == ours.words }
                && if theirs.accepts {
                    explanation.theirs == ACCEPTS
                } else {
                    explanation.theirs != ACCEPTS && theirs.words.contains(&explanation.theirs)
                }
        })?;
        found.held.insert(peer.to_owned());
        Some(found.why.clone())
    }

    /// What explained nothing, though the peer was asked.
    pub(super) fn idle(&self, asked: &BTreeSet<&str>) -> Vec<String> {
        let idle = |explanation: &&Explanation| {
            let mut named = explanation.peers.iter().filter(|peer| asked.contains(peer.as_str()));
            named.any(|peer| !explanation.held.contains(peer))
        };
        self.explanations.iter().filter(idle).map(|explanation| explanation.row.clone()).collect()
    }

    /// Renews the table of verdicts.
    pub(super) fn write(&self, ours: &Verdicts, ran: &[(&Peer, Verdicts)]) -> Result<()> {
        let (before, rest) = self.text.split_once(BEGIN).with_context(|| format!("no {BEGIN:?}"))?;
        let (_, after) = rest.split_once(END).with_context(|| format!("no {END:?}"))?;
        let table = table(ours, ran);
        fs::write(&self.path, format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))?;
        Ok(())
    }
}

const ACCEPTS: &str = "accepts";

fn explanation(row: &str) -> Result<Explanation> {
    let cells: Vec<_> = row.trim_matches(['|', ' ']).split(" | ").map(str::trim).collect();
    let [peers, ours, theirs, why] = cells[..] else { anyhow::bail!("not four cells: {row}") };
    let bare = |cell: &str| cell.trim_matches('`').to_owned();
    let peers = peers.split(", ").map(bare).collect();
    ensure!(!why.is_empty() && !bare(theirs).is_empty(), "it explains nothing: {row}");
    let (row, why, held) = (row.to_owned(), why.to_owned(), BTreeSet::new());
    Ok(Explanation { row, peers, ours: bare(ours), theirs: bare(theirs), why, held })
}

/// A row for each vector; a verdict that is not ours stands out.
fn table(ours: &Verdicts, ran: &[(&Peer, Verdicts)]) -> String {
    let head = ran.iter().map(|(peer, _)| format!("{} {}", peer.name, peer.version));
    let head = row("evidence", "Cube", head);
    let rows = ours.iter().map(|(id, our)| {
        let own = if our.accepts { ACCEPTS.to_owned() } else { format!("refuses: `{}`", our.words) };
        let cell = |(_, theirs): &(&Peer, Verdicts)| match theirs.get(id).map(|their| their.accepts) {
            Some(accepts) if accepts == our.accepts => "=".to_owned(),
            Some(true) => "**accepts**".to_owned(),
            Some(false) => "**refuses**".to_owned(),
            None => "?".to_owned(),
        };
        row(id, &own, ran.iter().map(cell))
    });
    let ruler = format!("|{}", "---|".repeat(2 + ran.len()));
    [head, ruler].into_iter().chain(rows).collect::<Vec<_>>().join("\n") + "\n"
}

fn row(first: &str, second: &str, cells: impl Iterator<Item = String>) -> String {
    let cells = [first.to_owned(), second.to_owned()].into_iter().chain(cells);
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}
