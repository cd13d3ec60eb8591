//! From an address to evidence: the part that verify, report and chat share.

use attested_client::{Binding, Error, Offer, Target, Unattested, fresh_nonce};

use crate::{args::ServerArgs, failure::Failure, input, table};

/// Connects to the gateway and has it make a report for `nonce`, or for a fresh one.
pub(crate) async fn ask(
    url: &Target,
    server: &ServerArgs,
    binding: Binding,
    nonce: Option<[u8; 32]>,
) -> Result<Offer, Failure> {
    let trust = input::server_trust(server)?;
    table::progress(&format!("connecting to {url}"));
    let connection = Unattested::dial(url, &trust, server.limits()).await?;
    table::progress("TLS 1.3 is up; asking for a report on this very connection");
    let nonce = nonce.map_or_else(fresh_nonce, Ok::<_, Error>)?;
    Ok(connection.ask(nonce, binding).await?)
}
