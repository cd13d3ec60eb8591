//! `cube verify`.

use std::path::Path;

use snp_evidence::{
    Binder, BindingType, Challenge, Endorsements, Evidence, EvidenceFormat, PUBLIC_LISTENER, Purpose,
    TrustRoots, VerifiedBundle,
};

use crate::{
    args::VerifyArgs,
    ask::ask,
    azure,
    failure::Failure,
    fetch, input, remember, table,
    verdict::{self, Judgement, Scope},
    yardstick::{Yardstick, says_simulated},
};

pub(crate) async fn run(args: VerifyArgs) -> Result<u8, Failure> {
    let judgement = match judge(&args).await {
        Err(Failure::Client(error)) => verdict::of_client_error(&error),
        other => other?,
    };
    if args.json {
        table::json(&judgement)?;
    } else if args.summary {
        table::summary(&judgement, &mut table::stdout())?;
    } else {
        table::full(&judgement, &mut table::stdout())?;
    }
    Ok(judgement.exit_code())
}

async fn judge(args: &VerifyArgs) -> Result<Judgement, Failure> {
    if args.url.is_none() && (args.server.ca.is_some() || args.server.timeout.is_some()) {
        return Err(Failure::Usage(
            "--ca and --timeout go with a URL: nothing stored has a server".to_owned(),
        ));
    }
    let yardstick = Yardstick::of(args)?;
    if let Some(folder) = &args.azure {
        return azure::judge(folder, args, &yardstick);
    }
    match (&args.url, &args.bundle, &args.report) {
        (Some(url), _, _) => {
            let offer = ask(url, &args.server, args.binding, None).await?;
            let (mut judgement, verified) =
                bundle(offer.bundle(), offer.challenge(), Scope::Connection, &yardstick);
            if let (Some(file), Some(verified)) = (&args.remember, verified) {
                judgement.add(remember::compare(file, url, &verified)?);
            }
            Ok(judgement)
        }
        (None, Some(file), _) => {
            let bytes = input::file(file)?;
            let challenge = challenge(args.nonce.as_ref(), args.exporter, args.spki, &bytes)?;
            Ok(bundle(&bytes, &challenge, Scope::Bundle, &yardstick).0)
        }
        (None, None, Some(report)) if args.certs.is_some() || args.fetch.is_some() => {
            examine(report, args, &yardstick).await
        }
        (None, None, _) => {
            let mend = "give URL, --bundle, --azure, or --report with --certs or --fetch";
            Err(Failure::Usage(mend.to_owned()))
        }
    }
}

/// With the bundle, where every check passed.
fn bundle(
    bytes: &[u8],
    challenge: &Challenge,
    scope: Scope,
    with: &Yardstick,
) -> (Judgement, Option<VerifiedBundle>) {
    let outcome = snp_evidence::appraise(bytes, &with.roots, &with.policy, challenge, with.now);
    let context = with.context(scope, says_simulated(bytes));
    let mut judgement = verdict::of(outcome.as_ref().map(|verified| &**verified.report()), context);
    judgement.spki_only = challenge.binder.kind == BindingType::TlsSpki;
    (judgement, outcome.ok())
}

async fn examine(report: &Path, args: &VerifyArgs, with: &Yardstick) -> Result<Judgement, Failure> {
    let mut evidence = stored(report, args.certs.as_deref(), &with.roots)?;
    if let Some(server) = &args.fetch {
        evidence = fetch::complete(evidence, server, with).await?;
    }
    let outcome = snp_evidence::examine(&evidence, &with.roots, &with.policy, with.now);
    let context = with.context(Scope::Report, with.roots.is_simulated());
    Ok(verdict::of(outcome.as_ref().map(|examined| &**examined), context))
}

/// A bare report and the certificates beside it. It does not say what made it: the roots it is judged under do.
pub(crate) fn stored(report: &Path, certs: Option<&Path>, roots: &TrustRoots) -> Result<Evidence, Failure> {
    let simulated = roots.is_simulated();
    let format = if simulated { EvidenceFormat::SimulatedAmdSevSnp } else { EvidenceFormat::AmdSevSnp };
    let bytes = input::file(report)?;
    azure::is_not_meant(&bytes, report)?;
    let bare = Evidence { format, report: bytes, endorsements: Endorsements::default() };
    collateral::complete(bare, certs).map_err(|e| Failure::Usage(e.to_string()))
}

/// What the user's side of the saved connection knows.
pub(crate) fn challenge(
    nonce: Option<&input::Nonce>,
    exporter: Option<[u8; 32]>,
    spki: Option<[u8; 32]>,
    bundle: &[u8],
) -> Result<Challenge, Failure> {
    let nonce = nonce.and_then(|nonce| nonce.0.clone().try_into().ok());
    let nonce = nonce.ok_or_else(|| Failure::Usage("a bundle needs --nonce of 32 bytes".to_owned()))?;
    let binder = match (exporter, spki) {
        (Some(exporter), Some(spki)) => Binder::tls_exporter(spki, exporter, PUBLIC_LISTENER),
        (Some(exporter), None) => Binder::tls_exporter(claimed_leaf(bundle), exporter, PUBLIC_LISTENER),
        (None, Some(spki)) => Binder::tls_spki(spki, PUBLIC_LISTENER),
        (None, None) => return Err(Failure::Usage("a bundle needs --exporter or --spki".to_owned())),
    };
    Ok(Challenge { purpose: Purpose::Fresh, nonce, binder })
}

/// The leaf key that the bundle claims. Enough beside an exporter of the user's
/// own: the report must bind both, and the manifest must name the key. A bundle
/// that claims none is refused as malformed.
fn claimed_leaf(bundle: &[u8]) -> [u8; 32] {
    let claimed = serde_json::from_slice::<serde_json::Value>(bundle).ok();
    let text = claimed.as_ref().and_then(|json| json.pointer("/binding/leaf_spki_sha256")?.as_str());
    text.and_then(|text| input::value32(text).ok()).unwrap_or_default()
}
