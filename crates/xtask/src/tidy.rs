//! What lints cannot see: arrows between crates, bans, licences, sizes, words.

mod attacks;
mod deploy;
mod graph;
mod resolved;
mod sources;

use anyhow::{Result, bail};

use crate::shell::{metadata, progress, workspace};

/// Runs every check, and reports all findings before failing.
pub(crate) fn run() -> Result<()> {
    let metadata = metadata()?;
    let graph = graph::Graph::read(&metadata)?;
    let mut findings = Vec::new();
    findings.extend(graph.forbidden_arrows());
    findings.extend(graph.paths_to_the_simulator());
    findings.extend(resolved::check()?);
    findings.extend(graph.undocumented_dependencies(&workspace().join("docs/dependencies.md")));
    findings.extend(sources::check(&workspace())?);
    findings.extend(attacks::check(&workspace())?);
    findings.extend(deploy::check(&workspace())?);
    for finding in &findings {
        progress(&format!("tidy: {finding}"));
    }
    if !findings.is_empty() {
        bail!("tidy found {} things to mend", findings.len());
    }
    Ok(())
}
