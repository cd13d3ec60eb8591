//! `cube trust`.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{args::TrustArgs, ask::connect, failure::Failure, table};

/// Characters of a line of PEM, RFC 7468 section 2.
const LINE: usize = 64;

pub(crate) async fn run(args: TrustArgs) -> Result<u8, Failure> {
    let (judgement, channel) = connect(&args.gateway).await?;
    let Some(channel) = channel else {
        table::summary(&judgement, &mut table::stderr())?;
        return Ok(judgement.exit_code());
    };
    table::limits(&judgement, &mut table::stderr())?;
    let ca = channel.ca_certificate().ok_or_else(|| {
        let problem =
            "the gateway shows no CA of its own; its certificate comes from a CA that you know already";
        Failure::Answer(problem.to_owned())
    })?;
    table::stdout().write_all(pem(ca).as_bytes())?;
    Ok(judgement.exit_code())
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
