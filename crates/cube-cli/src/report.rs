//! `cube report`.

use std::io::Write;

use attested_client::Binding;

use crate::{args::ReportArgs, ask::ask, failure::Failure, table};

pub(crate) async fn run(args: ReportArgs) -> Result<u8, Failure> {
    let offer = ask(&args.url, &args.server, args.binding, args.nonce).await?;
    let (connection, expected) = (offer.connection(), offer.challenge());
    let exporter = match args.binding {
        Binding::TlsExporter => format!(" --exporter {}", hex::encode(connection.exporter())),
        Binding::TlsSpki => String::new(),
    };
    let file = args.output.as_ref().map_or_else(|| "FILE".to_owned(), |path| path.display().to_string());
    let (nonce, spki) = (hex::encode(expected.nonce), hex::encode(connection.leaf_spki_sha256()));
    let later = format!("cube verify --bundle {file} --nonce {nonce}{exporter} --spki {spki}");
    table::progress("saved unjudged; this judges it, with your --policy:");
    let Some(path) = args.output else {
        table::progress(&later);
        table::stdout().write_all(offer.bundle())?;
        return Ok(0);
    };
    std::fs::write(&path, offer.bundle()).map_err(|error| Failure::file("write", &path, &error))?;
    writeln!(table::stdout(), "{later}")?;
    Ok(0)
}
