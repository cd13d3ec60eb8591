//! `cube migrate`: from Cube AI's forms to ours. Nothing is dropped in silence.

mod env;
mod routes;

use std::{collections::BTreeMap, io::Write, net::IpAddr, path::Path};

use http::Uri;

use crate::{
    args::migrate::{FileArgs, MigrateArgs, MigrateCommand},
    failure::Failure,
    input,
    table::{self, printable},
};

/// Written, and something has to be decided by a human first.
const DECIDE: u8 = 1;

/// Reads a file of one form; an error where it is no such file.
type Reader = fn(&[u8], &mut Migration) -> Result<(), String>;

pub(crate) fn run(args: &MigrateArgs) -> Result<u8, Failure> {
    let (read, args): (Reader, &FileArgs) = match &args.command {
        MigrateCommand::Env(args) => (env::read, args),
        MigrateCommand::Routes(args) => (routes::read, args),
    };
    let bytes = if args.file == Path::new("-") {
        input::bounded(std::io::stdin(), "stdin")?
    } else {
        input::file(&args.file)?
    };
    let mut migration = Migration::default();
    read(&bytes, &mut migration)
        .map_err(|problem| Failure::Usage(format!("{}: {problem}", args.file.display())))?;
    migration.finish()
}

/// What becomes of a file.
#[derive(Default)]
struct Migration {
    /// By file of ours: keys, dots leading into tables, and values as TOML.
    files: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    /// What has another place, or none, and why.
    told: Vec<String>,
    /// What has to be decided.
    open: Vec<String>,
}

impl Migration {
    fn set(&mut self, file: &'static str, key: &'static str, value: String) {
        self.files.entry(file).or_default().insert(key, value);
    }

    fn tell(&mut self, what: &str, becomes: &str) {
        self.told.push(format!("  {}: {becomes}", printable(what)));
    }

    fn open(&mut self, what: &str, why: &str) {
        self.open.push(format!("  {}: {why}", printable(what)));
    }

    /// The model server, where it is on this machine; Ollama by its usual port.
    fn backend(&mut self, what: &str, url: &str) {
        let local = local(url);
        let Some(address) = local else {
            let why = "is not on this machine: the model server runs in the CVM, and no prompt leaves it";
            return self.open(what, why);
        };
        let kind = if address.ends_with(":11434") { "ollama" } else { "openai" };
        self.set("measured.toml", "backend.address", format!("\"{address}\""));
        self.set("measured.toml", "backend.kind", format!("\"{kind}\""));
    }

    fn finish(self) -> Result<u8, Failure> {
        let mut out = table::stdout();
        for (file, keys) in &self.files {
            let keys: String = keys.iter().map(|(key, value)| [key, " = ", value, "\n"].concat()).collect();
            out.write_all(format!("# {file}\n{keys}\n").as_bytes())?;
        }
        table::list("Has another place, or none:", &self.told);
        table::list("Has to be decided:", &self.open);
        Ok(if self.open.is_empty() { 0 } else { DECIDE })
    }
}

/// A target as `backend.address` wants it: loopback, in clear.
fn local(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let ip = if host == "localhost" { "127.0.0.1" } else { host };
    let ip: IpAddr = ip.parse().ok()?;
    let port = uri.port_u16().unwrap_or(80);
    let plain = uri.scheme_str() == Some("http") && uri.path().trim_end_matches('/').is_empty();
    (plain && ip.is_loopback()).then(|| format!("http://{}", std::net::SocketAddr::new(ip, port)))
}
