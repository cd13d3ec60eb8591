//! Our own verifier behind the protocol of conformance/README.md: questions on stdin, one JSON object a line, verdicts on
//! stdout. Ends with the last verdict's exit code.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is the protocol")]

use std::{
    io::{BufRead, stdin},
    process::ExitCode,
};

use anyhow::{Context, Result};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use health_token::{Expected, TokenKey};
use serde_json::{Value, from_value, json};
use snp_evidence::{Binder, Challenge, Policy, Refusal, RefusalClass, TrustRoots, UnixTime, appraise};

fn main() -> ExitCode {
    let code = run().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        2
    });
    ExitCode::from(code)
}

fn run() -> Result<u8> {
    let mut code = 2;
    for line in stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line?)?;
        let verdict = match question.get("token") {
            Some(token) => judge_token(text(token)?, member(&question, "expected")?)?,
            None => judge_bundle(&question)?,
        };
        println!("{}", json!({ "verdict": verdict.word, "reason": verdict.reason }));
        code = verdict.exit;
    }
    Ok(code)
}

struct Verdict {
    word: &'static str,
    reason: Option<&'static str>,
    exit: u8,
}

const TRUSTED: Verdict = Verdict { word: "trusted", reason: None, exit: 0 };

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        let (word, exit) = match refusal.class() {
            RefusalClass::Malformed | RefusalClass::Untrusted => ("refused", 10),
            RefusalClass::OutOfPolicy => ("refused", 11),
            RefusalClass::Channel => ("refused", 13),
            RefusalClass::Stale | RefusalClass::Unavailable => ("unavailable", 12),
        };
        Self { word, reason: Some(refusal.reason()), exit }
    }
}

fn judge_bundle(question: &Value) -> Result<Verdict> {
    let bundle = STANDARD.decode(text(member(question, "bundle")?)?)?;
    let roots = roots(member(question, "roots")?)?;
    let policy = Policy::parse(text(member(question, "policy")?)?.as_bytes())?;
    let now = UnixTime(number(member(question, "now")?)?);
    let verdict = appraise(&bundle, &roots, &policy, &challenge(member(question, "challenge")?)?, now);
    Ok(verdict.map_or_else(Verdict::from, |_| TRUSTED))
}

fn roots(stated: &Value) -> Result<TrustRoots> {
    match text(member(stated, "format")?)? {
        "amd-sev-snp-report" => Ok(TrustRoots::amd()),
        _ => Ok(TrustRoots::simulated(text(member(stated, "pem")?)?.as_bytes())?),
    }
}

fn challenge(stated: &Value) -> Result<Challenge> {
    let binding = member(stated, "binding")?;
    let exporter = member(binding, "exporter")?;
    let binder = Binder {
        kind: from_value(member(binding, "type")?.clone())?,
        role: from_value(member(binding, "role")?.clone())?,
        leaf_spki_sha256: bytes(member(binding, "leaf_spki_sha256")?)?,
        exporter: if exporter.is_null() { None } else { Some(bytes(exporter)?) },
        listener: text(member(binding, "listener")?)?.to_owned(),
    };
    let purpose = from_value(member(stated, "purpose")?.clone())?;
    Ok(Challenge { purpose, nonce: bytes(member(stated, "nonce")?)?, binder })
}

fn judge_token(token: &str, expected: &Value) -> Result<Verdict> {
    let keys = member(expected, "token_keys")?.as_array().context("token_keys is a list")?;
    let keys = keys.iter().map(|key| Ok(TokenKey::from_spki(&decoded(key)?)?)).collect::<Result<Vec<_>>>()?;
    let peer_spki = decoded(member(expected, "peer_spki")?)?;
    let known = Expected {
        keys: &keys,
        boot_seed: &bytes(member(expected, "boot_seed")?)?,
        min_epoch: number(member(expected, "min_epoch")?)?.try_into()?,
        issuer: text(member(expected, "issuer")?)?,
        subject: text(member(expected, "subject")?)?,
        peer_spki: &peer_spki,
        now: number(member(expected, "now")?)?,
    };
    let verdict = health_token::verify_own(token, &known, &bytes(member(expected, "nonce")?)?);
    Ok(verdict.map_or_else(
        |error| Verdict { word: "refused", reason: Some(error.reason()), exit: 10 },
        |_| TRUSTED,
    ))
}

fn member<'v>(value: &'v Value, name: &str) -> Result<&'v Value> {
    value.get(name).with_context(|| format!("{name} is missing"))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

fn number(value: &Value) -> Result<i64> {
    value.as_i64().with_context(|| format!("{value} is no number"))
}

fn decoded(value: &Value) -> Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(text(value)?)?)
}

fn bytes<const N: usize>(value: &Value) -> Result<[u8; N]> {
    decoded(value)?.try_into().ok().with_context(|| format!("{value} is not {N} bytes"))
}
