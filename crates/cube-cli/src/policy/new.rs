//! `cube policy new`.

use snp_evidence::{CheckResult, Product};

use super::{
    draft::{Draft, off, quoted},
    evidence::{Seen, Shown},
    unfilled, write,
};
use crate::{
    args::{
        measure::Covers,
        policy::{Audience, NewArgs},
    },
    failure::Failure,
    table,
    verdict::Judgement,
    yardstick,
};

pub(crate) async fn run(args: &NewArgs) -> Result<u8, Failure> {
    if args.from.is_none() && (args.server.ca.is_some() || args.server.timeout.is_some()) {
        return Err(Failure::Usage(
            "--ca and --timeout go with --from: nothing else has a server".to_owned(),
        ));
    }
    let shown = Shown::of(args).await?;
    let seen = match &shown {
        None => None,
        Some(shown) => match shown.judge(&yardstick::observing()?) {
            Ok(seen) => Some((shown, seen)),
            Err(judgement) => return refused(&judgement),
        },
    };
    let mut draft = Draft::new(heading(args, seen.as_ref()));
    if let Some((shown, seen)) = &seen {
        fill(&mut draft, shown, seen);
    }
    state(&mut draft, args, seen.as_ref().map(|(_, seen)| seen));
    let (text, policy) = draft.finish()?;
    if let Some(Err(judgement)) = shown.as_ref().map(|shown| shown.judge(&policy)) {
        tell_unmet(&judgement);
    }
    tell_unfilled(&unfilled(&policy.statements()), args);
    write(&text, args.out.as_deref())?;
    Ok(0)
}

/// Nothing is taken from evidence that may be anybody's.
fn refused(judgement: &Judgement) -> Result<u8, Failure> {
    table::progress("no policy is written from evidence that does not pass its core checks:");
    table::summary(judgement, &mut table::stderr())?;
    Ok(judgement.exit_code())
}

fn heading(args: &NewArgs, seen: Option<&(&Shown, Seen)>) -> String {
    let whom = match args.who {
        Audience::Client => "What a client demands before it says a word.",
        Audience::Services => "What the services demand of the machine they run on.",
    };
    let origin = match seen {
        None => "Nothing was observed.".to_owned(),
        Some((Shown { source, .. }, Seen { simulated: true, .. })) => {
            format!("Observed values are from {source}: SIMULATED HARDWARE, nothing is proven.")
        }
        Some((Shown { source, now, .. }, _)) => format!(
            "Observed values are from {source}, judged as of {now}. That they are what you want is yours to check: compare the \
             measurement with `cube measure`."
        ),
    };
    format!("{whom} Written by `cube policy new`; docs/spec/policy.md explains each rule. {origin}")
}

/// Demands of the next evidence what this one had, and says why where that is less than could be asked.
fn fill(draft: &mut Draft, shown: &Shown, seen: &Seen) {
    for observed in seen.rules.iter().filter(|observed| observed.rule != "report_version") {
        draft.set(observed.rule, &*observed.value, "Observed.");
    }
    if seen.version == 2 {
        draft.set("report_version", "{ allow = [2, 3, 4, 5] }", "Observed: version 2.");
    }
    if seen.has("vlek.csp") {
        let reason = "signed by a VLEK, which names no chip: the provider in vlek.csp answers for it";
        draft.set(id_of(seen.product), any(reason), "Observed: a VLEK.");
        table::progress(&format!("{} accepts any chip: {reason}", id_of(seen.product)));
    }
    let missing = [
        ("host_data", !seen.has("host_data"), "observed zero: the guest was launched without HOST_DATA"),
        ("platform_info", !seen.has("platform_info"), "no protection was on when this was observed"),
        ("crl", !shown.has_list(), "the evidence came without AMD's revocation list"),
        (
            "report_data",
            shown.is_stored(),
            "made from a stored report; live evidence is compared whatever stands here",
        ),
    ];
    for (rule, _, reason) in missing.into_iter().filter(|(_, is, _)| *is) {
        draft.set(rule, off(reason), "");
    }
    let covers =
        r#"covers = "kernel-only", reason = "observed, and nobody said that it covers the programs""#;
    draft.set("measurement", measurements(&[seen.measurement], covers), "Observed.");
}

/// What the user stated stands above what was observed.
fn state(draft: &mut Draft, args: &NewArgs, seen: Option<&Seen>) {
    for product in args.product.iter().filter(|product| **product != Product::Milan) {
        let reason =
            format!("any genuine {product} was accepted with --product: other rules tell whose it is");
        draft.set(id_of(*product), any(&reason), "Stated.");
    }
    if !args.host_data.is_empty() {
        let list = format!("{{ allow = [{}] }}", hex_list(&args.host_data));
        draft.set("host_data", list, "Stated.");
    }
    let observed: Vec<_> = seen.map(|seen| seen.measurement).into_iter().collect();
    let allow = if args.measurement.is_empty() { &observed } else { &args.measurement };
    if let Some(covers) = args.covers {
        let origin = if args.measurement.is_empty() && seen.is_some() { "Observed." } else { "Stated." };
        draft.set("measurement", measurements(allow, covers_text(covers)), origin);
    }
    if args.who == Audience::Services {
        let reason = "the services compare it with the measured configuration, always";
        draft.set("host_data", off(reason), "That file holds this file's digest, so this cannot hold its.");
        draft.set("instance.identity", off("the services are inside the instance"), "");
    }
}

fn covers_text(covers: Covers) -> &'static str {
    match covers {
        Covers::Userspace => r#"covers = "userspace""#,
        Covers::KernelOnly => {
            r#"covers = "kernel-only", reason = "the programs are not in what is measured, as was stated""#
        }
    }
}

fn measurements(allow: &[[u8; 48]], covers: &str) -> String {
    format!("{{ allow = [{}], {covers} }}", hex_list(allow))
}

fn hex_list<const N: usize>(values: &[[u8; N]]) -> String {
    values.iter().map(|value| format!("\"{}\"", hex::encode(value))).collect::<Vec<_>>().join(", ")
}

fn any(reason: &str) -> String {
    format!("{{ allow = \"any\", reason = {} }}", quoted(reason))
}

pub(crate) fn id_of(product: Product) -> &'static str {
    match product {
        Product::Milan => "product.milan",
        Product::Genoa => "product.genoa",
        Product::Turin => "product.turin",
    }
}

fn tell_unmet(judgement: &Judgement) {
    let failed = judgement.checks.iter().filter(|row| row.result == CheckResult::Fail);
    let lines: Vec<_> = failed
        .map(|row| format!("  {}: observed {}, expected {}", row.id, row.observed, row.expected))
        .collect();
    table::list("this evidence does not meet the policy, which was not loosened for its sake:", &lines);
}

fn tell_unfilled(lines: &[String], args: &NewArgs) {
    if args.product.contains(&Product::Milan) {
        let why = "software can extract the keys of these chips";
        table::progress(&format!("product.milan stays a list although --product names it: {why}"));
    }
    table::list("nothing passes until these are filled in:", lines);
}
