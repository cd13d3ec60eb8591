//! `cube key new`: a key for a caller of the gateway.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use toml::Table;

use crate::{
    args::key::{KeyArgs, KeyCommand, NewArgs},
    failure::Failure,
    input, table,
};

pub(crate) fn run(args: &KeyArgs) -> Result<u8, Failure> {
    let KeyCommand::New(args) = &args.command;
    let before = read(args)?;
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|_| Failure::Usage("no random bytes could be had".to_owned()))?;
    let key = format!("cube-{}", URL_SAFE_NO_PAD.encode(secret));
    let start = if before.is_empty() { "version = 1\n" } else { "" };
    append(args, &format!("{start}\n{}", entry(args, &key)))?;
    writeln!(table::stdout(), "{key}")?;
    table::progress(&format!("{} can ask with it; it is not shown again", args.name));
    Ok(0)
}

/// The file so far, which has to be one that the name can be added to.
fn read(args: &NewArgs) -> Result<String, Failure> {
    let bytes = input::file_if_any(&args.keys)?.unwrap_or_default();
    let refuse = |what: &str| Failure::Usage(format!("{}: {what}", args.keys.display()));
    let text = String::from_utf8(bytes).map_err(|_| refuse("not UTF-8"))?;
    let file: Table = text.parse().map_err(|_| refuse("no TOML"))?;
    let version = file.get("version").and_then(toml::Value::as_integer);
    if !text.is_empty() && version != Some(1) {
        return Err(refuse("not a file of keys of version 1"));
    }
    let keys = file.get("key").and_then(toml::Value::as_array);
    let names = keys.into_iter().flatten().filter_map(|key| key.get("name")?.as_str());
    if names.into_iter().any(|name| name == args.name) {
        return Err(refuse("has a key of that name; remove its entry first, or choose another name"));
    }
    Ok(text)
}

fn entry(args: &NewArgs, key: &str) -> String {
    let sha256 = hex::encode(digest(&SHA256, key.as_bytes()));
    let models = args.models.iter().map(|model| format!("\"{model}\"")).collect::<Vec<_>>().join(", ");
    let NewArgs { name, expires, .. } = args;
    let bounds = [("concurrent", args.concurrent), ("per_minute", args.per_minute)];
    let bounds: String = bounds
        .iter()
        .filter_map(|(member, value)| Some([member, " = ", &value.as_ref()?.to_string(), "\n"].concat()))
        .collect();
    format!(
        "[[key]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nexpires = \"{expires}\"\nmodels = [{models}]\n{bounds}"
    )
}

/// At the end, so that nothing of what is there can be lost.
fn append(args: &NewArgs, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&args.keys);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Failure::file("write", &args.keys, &error))
}
