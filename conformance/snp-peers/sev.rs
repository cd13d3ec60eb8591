//! Crate `sev`, with the crypto backend of the package that this is built in.
//!
//! `verdict FOLDER…` judges the evidence in each folder, one line of JSON each. `time FOLDER` judges one folder's evidence
//! from its bytes for every line on stdin, and says how many microseconds that took.

use std::{
    env,
    error::Error,
    fs,
    io::{self, BufRead, Write},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use serde_json::json;
use sev::{
    certs::snp::{Certificate, Chain, Verifiable, ca},
    firmware::guest::AttestationReport,
    parser::ByteParser,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((mode, folders)) if mode == "verdict" => {
            panic::set_hook(Box::new(|_| ()));
            folders.iter().for_each(|folder| println!("{}", verdict(Path::new(folder))));
        }
        Some((mode, [folder])) if mode == "time" => time(&Files::read(Path::new(folder))?)?,
        _ => return Err("usage: verdict FOLDER… | time FOLDER".into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a caller of the crate holds: bytes.
struct Files {
    report: Vec<u8>,
    vek: Vec<u8>,
    issuer: Vec<u8>,
    ark: Vec<u8>,
}

impl Files {
    fn read(folder: &Path) -> io::Result<Self> {
        let first = |names: &[&str]| {
            let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
            let there = paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]);
            fs::read(there).map_err(|error| io::Error::other(format!("{}: {error}", names[0])))
        };
        Ok(Self {
            report: first(&["report.bin"])?,
            vek: first(&["vcek.der", "vlek.der"])?,
            issuer: first(&["asvk.pem", "ask.pem"])?,
            ark: first(&["ark.pem"])?,
        })
    }

    /// All that the crate offers to ask: the chain's three signatures, and the report's.
    fn judge(&self) -> io::Result<()> {
        let report = AttestationReport::from_bytes(&self.report)?;
        let ca =
            ca::Chain { ark: Certificate::from_pem(&self.ark)?, ask: Certificate::from_pem(&self.issuer)? };
        let chain = Chain { ca, vek: Certificate::from_der(&self.vek)? };
        (&chain, &report).verify()
    }
}

fn verdict(folder: &Path) -> serde_json::Value {
    let judged = panic::catch_unwind(|| Files::read(folder).and_then(|files| files.judge()));
    let (accepts, why) = match judged {
        Ok(Ok(())) => (true, String::new()),
        Ok(Err(error)) => (false, error.to_string()),
        Err(panicked) => {
            (false, format!("panics: {}", panicked.downcast_ref::<String>().map_or("", |why| why)))
        }
    };
    json!({ "id": folder.file_name().map(|name| name.to_string_lossy()), "accepts": accepts, "why": why })
}

fn time(files: &Files) -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        line?;
        let started = Instant::now();
        files.judge()?;
        println!("{}", started.elapsed().as_secs_f64() * 1e6);
        io::stdout().flush()?;
    }
    Ok(())
}
