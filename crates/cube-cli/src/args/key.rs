//! The command line of `cube key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key for a caller, and add its digest to the gateway's file of keys.
    New(NewArgs),
}

#[derive(Debug, Args)]
#[command(after_help = NEW_HELP)]
pub(crate) struct NewArgs {
    /// The gateway's file of keys; made where it is not there.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: PathBuf,
    /// Whose key it is: 1 to 64 of A-Z a-z 0-9 - _ .
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: String,
    /// When it ends.
    #[arg(long, value_name = "RFC3339|never", value_parser = end)]
    pub(crate) expires: String,
    /// A model that it may ask; again for each, or * for all.
    #[arg(long = "model", value_name = "NAME", required = true, value_parser = model)]
    pub(crate) models: Vec<String>,
    /// Most requests at once.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrent: Option<u32>,
    /// Most requests in a minute.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_minute: Option<u32>,
}

fn name(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("need 1 to 64 of A-Z a-z 0-9 - _ .") }
}

fn end(text: &str) -> Result<String, &'static str> {
    if text == "never" { Ok(text.to_owned()) } else { super::rfc3339(text).map(|time| time.to_string()) }
}

/// As it can stand in TOML without an escape.
fn model(text: &str) -> Result<String, &'static str> {
    let plain = |character: char| !character.is_control() && !matches!(character, '"' | '\\');
    if !text.is_empty() && text.chars().all(plain) { Ok(text.to_owned()) } else { Err("no such model name") }
}

const NEW_HELP: &str = "\
Example:
  cube key new --keys keys.toml --name radiology --expires 2027-01-01T00:00:00Z --model llama3.2 --concurrent 8

prints the key on stdout, once: the file holds its SHA-256 only. The gateway reads the file again
within five seconds. To withdraw a key, remove its entry.";
