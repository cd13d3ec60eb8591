//! Writes the documents whose facts are in the code: `cargo xtask codegen`. `--check` compares instead.
//!
//! An example of this crate, because this crate sees all three services, and examples see
//! dev-dependencies: no service is built with what documents need.

mod access;
mod apis;
mod configuration;
mod errors;
#[path = "../../../cube-cli/src/exit.rs"]
mod exit;
mod metrics;
mod sample;

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = configuration::files();
    let pages = [
        ("docs/access.md", access::page()),
        ("docs/apis.md", apis::page()),
        ("docs/configuration.md", configuration::page(&files)),
        ("docs/errors.md", errors::page()),
        ("docs/metrics.md", metrics::page()),
    ];
    let mut documents: Vec<_> = pages.map(|(name, text)| (name.to_owned(), text)).into();
    for file in &files {
        let name = format!("deploy/config/{}", file.name);
        let text = sample::renewed(file, &read(&root.join(&name))?).with_context(|| name.clone())?;
        documents.push((name, text));
    }
    let check = std::env::args().any(|argument| argument == "--check");
    for (name, text) in documents {
        let path = root.join(&name);
        if check {
            ensure!(read(&path)? == text, "{name} is out of step with the code; run `cargo xtask codegen`");
        } else {
            fs::write(&path, text).with_context(|| name)?;
        }
    }
    Ok(())
}

/// A line of a table.
fn row(cells: &[&str]) -> String {
    let cell = |text: &&str| if text.is_empty() { "–".to_owned() } else { (*text).to_owned() };
    ["| ", &cells.iter().map(cell).collect::<Vec<_>>().join(" | "), " |\n"].concat()
}

/// `text` in lines that begin with `start`.
fn wrapped(start: &str, text: &str) -> String {
    const WIDTH: usize = 120;
    let mut lines = vec![start.to_owned()];
    for word in text.split_whitespace() {
        if lines.last().is_some_and(|line| line.len() + 1 + word.len() > WIDTH) {
            lines.push(start.to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.extend([if line.is_empty() { "" } else { " " }, word]);
        }
    }
    lines.join("\n") + "\n"
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}
