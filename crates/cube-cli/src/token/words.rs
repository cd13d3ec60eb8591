//! The words, for people and for programs.

use std::io::{self, Write};

use health_token::{ALG, Claims, Inspected, TYP};
use serde_json::{Value, json};
use snp_evidence::UnixTime;

use super::Standing;
use crate::table;

pub(super) fn print(
    read: Option<&Inspected>,
    standing: &Standing,
    now: UnixTime,
    json: bool,
) -> io::Result<()> {
    let text = if json { as_json(read, standing) } else { lines(read, standing, now) };
    writeln!(table::stdout(), "{}", text.trim_end())
}

fn as_json(read: Option<&Inspected>, standing: &Standing) -> String {
    let (verdict, reason) = match standing {
        Standing::Unchecked => ("unchecked", None),
        Standing::Signed { .. } => ("signed", None),
        Standing::Refused(error) => ("refused", Some(error.reason())),
    };
    let header = read.map(|read| json!({ "alg": ALG, "kid": read.kid, "typ": TYP }));
    let claims = read.map(|read| claims(&read.claims));
    format!("{:#}", json!({ "verdict": verdict, "reason": reason, "header": header, "claims": claims }))
}

/// All but the nonce, which is its holder's alone.
fn claims(claims: &Claims) -> Value {
    let mut value = json!(claims);
    if let Some(members) = value.as_object_mut() {
        members.remove("eat_nonce");
    }
    value
}

fn lines(read: Option<&Inspected>, standing: &Standing, now: UnixTime) -> String {
    let facts = read.map_or_else(Vec::new, |read| facts(read, now));
    let fact = |(name, value): &(&str, String)| format!("{name:14}{}\n", table::printable(value));
    facts.iter().map(fact).collect::<String>() + &verdict(standing)
}

fn facts(Inspected { kid, claims }: &Inspected, now: UnixTime) -> Vec<(&'static str, String)> {
    let Claims {
        iss,
        sub,
        iat,
        nbf,
        exp,
        jti,
        cnf,
        eat_profile,
        eat_nonce: _,
        bootseed,
        hep,
        att,
        ear_status,
    } = claims;
    let at = |time: i64| format!("{}, {}", UnixTime(time), relative(time, now.0));
    let end = if now.0 < *exp { "" } else { "EXPIRED: " };
    vec![
        ("kind", format!("{TYP}, signed with {ALG}, profile {eat_profile}")),
        ("signed by", format!("the key with thumbprint {kid}")),
        ("issuer", iss.clone()),
        ("holder", sub.clone()),
        (
            "bound to",
            format!(
                "the holder's P-256 key with thumbprint {}: of use on its TLS connections only",
                cnf.jwk.thumbprint()
            ),
        ),
        (
            "certificate",
            format!("SHA-256 {} when it was issued; not compared, keys are", hex::encode(cnf.x5t_s256.0)),
        ),
        ("issued", at(*iat)),
        ("not before", at(*nbf)),
        ("expires", format!("{end}{}; a life of {} s", at(*exp), exp.saturating_sub(*iat))),
        ("boot", format!("seed {}: dead with attestation-svc's next start", hex::encode(bootseed.0))),
        ("health epoch", format!("{hep}: void once the least epoch is above it")),
        ("report", format!("SHA-256 {}: the evidence that it rests on", hex::encode(att.report_sha256.0))),
        ("measurement", hex::encode(att.measurement.0)),
        ("policy", format!("SHA-256 {}", hex::encode(att.policy_sha256.0))),
        ("key manifest", format!("SHA-384 {}", hex::encode(att.key_manifest_sha384.0))),
        ("status", ear_status.clone()),
        ("id", format!("{}, for audit only", hex::encode(jti.0))),
        ("nonce", "32 bytes of the holder's request; not shown".to_owned()),
    ]
}

fn verdict(standing: &Standing) -> String {
    match standing {
        Standing::Unchecked => {
            "NOT VERIFIED: anybody can write this; name the key manifest with --manifest or --bundle, \
                                and it is held against that"
                .to_owned()
        }
        Standing::Signed { version, instance } => format!(
            "signed by a token key of manifest version {version} of instance {}, and in time; whether that manifest is \
             genuine is not judged here, nor who holds the token, nor its epoch",
            table::printable(instance)
        ),
        Standing::Refused(error) => format!("REFUSED by {}: {error}", error.reason()),
    }
}

/// `time` as seen at `now`.
fn relative(time: i64, now: i64) -> String {
    match time.saturating_sub(now) {
        0 => "now".to_owned(),
        ahead @ 1.. => format!("in {}", span(ahead.unsigned_abs())),
        ago => format!("{} ago", span(ago.unsigned_abs())),
    }
}

/// In the two largest units.
fn span(seconds: u64) -> String {
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let told = [-90_000, -61, 0, 1, 7_200].map(|time| relative(time, 0));
        assert_eq!(told, ["1 d 1 h ago", "1 min 1 s ago", "now", "in 1 s", "in 2 h 0 min"]);
        assert_eq!(relative(i64::MIN, i64::MAX), relative(i64::MIN, 0));
    }
}
