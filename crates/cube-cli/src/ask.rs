//! From an address to evidence, and on to a verified channel: what the commands share.

use attested_client::{AttestedChannel, Binding, Error, Offer, Target, Unattested, fresh_nonce};

use crate::{
    args::{GatewayArgs, ServerArgs},
    failure::Failure,
    input, table,
    verdict::{self, Judgement, Scope},
    yardstick::{Yardstick, says_simulated},
};

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

/// The channel exists only where the policy accepted it.
pub(crate) async fn connect(to: &GatewayArgs) -> Result<(Judgement, Option<AttestedChannel>), Failure> {
    let policy = input::policy(&to.policy)?;
    let roots = input::roots(&to.roots)?;
    let with = Yardstick { roots, policy, policy_given: true, now: input::now() };
    let offer = ask(&to.url, &to.server, Binding::TlsExporter, None).await?;
    let context = with.context(Scope::Connection, says_simulated(offer.bundle()));
    let outcome = offer.appraise(&with.roots, &with.policy, with.now);
    let facts = outcome.as_ref().map(|channel| &**channel.verified().report());
    Ok((verdict::of(facts, context), outcome.ok()))
}
