//! What a stored report lacks, from AMD's key server, where the user asks for it.

use std::{sync::Arc, time::Duration};

use collateral::{Config, Keeper, Metrics};
use http::Uri;
use service_runtime::{ManualClock, Registry, https::server_uri};
use snp_evidence::Evidence;

use crate::{failure::Failure, table, yardstick::Yardstick};

/// For each of certificate and list.
const LIMIT: Duration = Duration::from_secs(20);

/// The evidence with what `server` has for it. What cannot be had is told, and left for the verdict to miss.
pub(crate) async fn complete(
    evidence: Evidence,
    server: &Uri,
    with: &Yardstick,
) -> Result<Evidence, Failure> {
    let mut config = Config::default();
    config.urls = vec![server.clone()];
    // Certificates have to be valid at the time that is judged, not at that of the question.
    let (clock, metrics) =
        (Arc::new(ManualClock::new(with.now.0)), Metrics::register(&mut Registry::default()));
    let keeper = Keeper::new(config, false, with.roots.clone(), clock, metrics)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let Err(why) = keeper.endorse(evidence.clone(), LIMIT).await else {
        keeper.refresh().await;
        // Both are at hand now.
        return Ok(keeper.endorse(evidence.clone(), LIMIT).await.unwrap_or(evidence));
    };
    table::progress(&why.to_string());
    Ok(evidence)
}

/// The server of `--fetch`.
pub(crate) fn server(text: &str) -> Result<Uri, String> {
    let uri = server_uri(text).filter(|uri| uri.query().is_none());
    uri.ok_or_else(|| "give https://HOST[:PORT][/PREFIX], or http:// on loopback".to_owned())
}
