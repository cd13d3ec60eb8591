//! `cube trust`.

use std::io::Write;

use crate::{args::TrustArgs, ask::connect, failure::Failure, table};

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
    table::stdout().write_all(mtls::pem(ca).as_bytes())?;
    Ok(judgement.exit_code())
}
