//! `cube policy explain`.

use std::io::{self, Write};

use serde_json::{Value, json};
use snp_evidence::{ADVISORIES, Advisory, Demand, Policy, Setting, Statement};

use super::{check::standing, rules, words};
use crate::{
    args::policy::ExplainArgs,
    failure::Failure,
    input,
    table::{self, Output, printable},
};

pub(crate) fn run(args: &ExplainArgs) -> Result<u8, Failure> {
    let policy = input::policy(&args.file)?;
    if args.json {
        writeln!(table::stdout(), "{:#}", as_json(&policy))?;
    } else {
        show(&policy, &mut table::stdout())?;
    }
    Ok(0)
}

/// Said of every policy.
const ALWAYS: &str = "\
always    structure, AMD's pinned certificates, their dates, signatures, TCB and chip against the
          certificate: core checks, which no policy can turn off";

/// What no policy can ask for.
const NEVER: [&str; 3] = [
    "that the software has no flaw, or was not taken over since it started",
    "anything about GPUs, disks and networks: only CPU memory is encrypted and measured",
    "that nobody opened the machine: with hands on its memory bus keys can be read, on some products",
];

fn show<W: Write>(policy: &Policy, out: &mut Output<W>) -> io::Result<()> {
    writeln!(out, "policy {}\n\n{ALWAYS}", hex::encode(policy.sha256()))?;
    policy.statements().iter().try_for_each(|statement| rule(statement, policy, out))?;
    advisories(policy, out)?;
    writeln!(out, "\nWhat stays unproven:")?;
    unproven(policy).iter().try_for_each(|line| writeln!(out, "  {}", printable(line)))
}

fn rule<W: Write>(statement: &Statement, policy: &Policy, out: &mut Output<W>) -> io::Result<()> {
    let (setting, colour) = match statement.setting {
        Setting::Required => ("required", "32"),
        Setting::Allowed => ("allowed", "32"),
        Setting::Off => ("off", "33"),
    };
    let setting = out.paint(colour, &format!("{setting:8}"));
    let words = words(statement);
    let words = words.strip_prefix("off: ").unwrap_or(&words);
    writeln!(out, "{setting}  {}: {}", statement.id, printable(words))?;
    writeln!(out, "          {}", effect(statement))?;
    behind(statement, policy).try_for_each(|(advisory, demand)| {
        let asked = if demand.met_by(policy) { "asked for" } else { "NOT asked for" };
        writeln!(out, "          {} wants {}: {asked}", advisory.id, demand.remedy)
    })
}

/// Those behind the rules above, each once.
fn advisories<W: Write>(policy: &Policy, out: &mut Output<W>) -> io::Result<()> {
    let concerns = |advisory: &&Advisory| advisory.demands.iter().any(|demand| demand.concerns(policy));
    writeln!(out, "\nAdvisories:")?;
    ADVISORIES.iter().filter(concerns).try_for_each(|advisory| {
        let Advisory { id, cves, summary, source, .. } = advisory;
        let names = [&[*id], *cves].concat().join(", ");
        writeln!(out, "  {names}, {}: {summary} (source: {source})", standing(advisory))
    })
}

fn effect(statement: &Statement) -> String {
    let stops = rules::text_of(statement.id).map_or("", |rule| rule.stops);
    let product = statement.id.starts_with("product.");
    match statement.setting {
        Setting::Off => format!("does not stop {stops}"),
        Setting::Allowed if product && statement.accepts_nothing => "refuses the product".to_owned(),
        Setting::Allowed if product && statement.reason.is_some() => format!("does not stop {stops}"),
        Setting::Required | Setting::Allowed if statement.accepts_nothing && statement.id != "vlek.csp" => {
            format!("stops {stops}, and all others: nothing can meet it")
        }
        Setting::Required | Setting::Allowed => format!("stops {stops}"),
    }
}

/// The advisories that are reasons for a rule; a product that is refused needs none.
fn behind<'a>(
    statement: &'a Statement,
    policy: &'a Policy,
) -> impl Iterator<Item = (&'static Advisory, &'static Demand)> + 'a {
    let refused = statement.id.starts_with("product.") && statement.accepts_nothing;
    let about = move |demand: &&Demand| !refused && demand.is_about(statement.id) && demand.concerns(policy);
    ADVISORIES
        .iter()
        .flat_map(move |advisory| advisory.demands.iter().filter(about).map(move |demand| (advisory, demand)))
}

fn unproven(policy: &Policy) -> Vec<String> {
    let own = policy.weaknesses().into_iter().map(|weak| format!("{}: {}", weak.id, weak.what));
    own.chain(NEVER.map(str::to_owned)).collect()
}

fn as_json(policy: &Policy) -> Value {
    let advisory = |(advisory, demand): (&Advisory, &Demand)| {
        json!({
            "id": advisory.id,
            "cves": advisory.cves,
            "summary": advisory.summary,
            "wants": demand.remedy.to_string(),
            "product": demand.product,
            "asked_for": demand.met_by(policy),
            "confirmed": advisory.confirmed,
            "as_of": advisory.as_of,
            "source": advisory.source,
        })
    };
    let rule = |statement: &Statement| {
        json!({
            "id": statement.id,
            "setting": statement.setting,
            "demand": statement.demand,
            "reason": statement.reason,
            "accepts_nothing": statement.accepts_nothing,
            "effect": effect(statement),
            "advisories": behind(statement, policy).map(advisory).collect::<Vec<_>>(),
        })
    };
    let rules: Vec<_> = policy.statements().iter().map(rule).collect();
    json!({"sha256": hex::encode(policy.sha256()), "rules": rules, "unproven": unproven(policy)})
}
