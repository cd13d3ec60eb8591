//! What is taken out, and which tests should notice.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

/// The tests that are asked: the fewest that know the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suite {
    Token,
    Lease,
    Refused,
    Attach,
    Guard,
    Service,
}

impl Suite {
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Token => &["--package", "health-token", "--lib"],
            Self::Lease => &["--package", "health-gate", "--lib"],
            Self::Refused => &["--package", "health-gate", "--test", "it", "refused"],
            Self::Attach => &["--package", "health-gate", "--test", "it"],
            Self::Guard => &["--package", "grpc-surface", "--lib"],
            Self::Service => &["--package", "attestation-svc", "--lib", "--test", "it"],
        }
    }
}

/// One check that is taken out.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) id: String,
    pub(super) file: &'static str,
    pub(super) suite: Suite,
    from: String,
    to: String,
    /// Which of the places where `from` stands.
    nth: usize,
}

impl Change {
    pub(super) fn applied(&self, text: &str) -> Result<String> {
        let place = text.match_indices(&self.from).nth(self.nth);
        let (at, from) = place.with_context(|| format!("{}: {:?} is not there", self.file, self.from))?;
        Ok(format!("{}{}{}", &text[..at], self.to, &text[at + from.len()..]))
    }
}

const TOKEN: &str = "crates/health-token/src/verify.rs";
const INSPECT: &str = "crates/health-token/src/inspect.rs";
const LEASE: &str = "crates/health-gate/src/lease.rs";
const TERM: &str = "crates/health-gate/src/term.rs";
const GATE: &str = "crates/health-gate/src/gate.rs";
const LAYER: &str = "crates/health-gate/src/layer.rs";
const SHOWN: &str = "crates/health-gate/src/shown.rs";
const SESSION: &str = "crates/health-gate/src/session.rs";
const TRUST: &str = "crates/health-gate/src/trust.rs";
const ENROL: &str = "crates/health-gate/src/enrol.rs";
const ATTACH: &str = "crates/health-gate/src/attach.rs";
const ANSWERING: &str = "crates/health-gate/src/attach/server.rs";
const GUARD: &str = "crates/grpc-surface/src/guard.rs";
const IDENTITY: &str = "attestation-svc/src/rpc/identity.rs";
const HEALTH: &str = "attestation-svc/src/rpc/health.rs";
const ROSTER: &str = "attestation-svc/src/roster.rs";

/// Functions whose every call is a check: none can be added to these files without its being taken out here.
const CALLS: &[(&str, &str, Suite)] = &[
    (TOKEN, "check(", Suite::Token),
    (TOKEN, "check_times(", Suite::Token),
    (TOKEN, "check_issue(", Suite::Token),
    (TOKEN, "parts.check_signature(", Suite::Token),
    (INSPECT, "check(", Suite::Token),
    (INSPECT, "check_issue(", Suite::Token),
    (INSPECT, "parts.check_signature(", Suite::Token),
    (ENROL, "ensure(", Suite::Refused),
    (ENROL, "same(", Suite::Refused),
    (ENROL, "self.check_deployment(", Suite::Refused),
    (ENROL, "issuer.issued(", Suite::Refused),
    (ENROL, "verify_server_cert_signed_by_trust_anchor(", Suite::Refused),
    (IDENTITY, "session.check_unit(", Suite::Service),
    (IDENTITY, "self.check_config(", Suite::Service),
    (IDENTITY, "authority.vouching.check(", Suite::Service),
    (IDENTITY, "session.holder(", Suite::Service),
    (HEALTH, "self.authority.vouching.check(", Suite::Service),
];

/// What is no call: what it is, where, what it is replaced by.
const OTHERS: &[(&str, &str, &str, &str, Suite)] = &[
    (
        "an answer to a heartbeat that was not sent",
        LEASE,
        "if sequence == 0 || sequence > self.last_sequence {",
        "if false {",
        Suite::Lease,
    ),
    (
        "a token that was not asked for",
        LEASE,
        "(true, None) => Err(LeaseError::UnaskedToken(sequence)),",
        "(true, None) => Ok(Answered::Alive),",
        Suite::Lease,
    ),
    (
        "an epoch that goes back",
        LEASE,
        "if back || min_epoch > epoch {",
        "if min_epoch > epoch {",
        Suite::Lease,
    ),
    (
        "a least epoch beyond the present one",
        LEASE,
        "if back || min_epoch > epoch {",
        "if back {",
        Suite::Lease,
    ),
    (
        "the lease ends with its token",
        LEASE,
        "(self.alive_since? + LAPSE).min(token.ends)",
        "self.alive_since? + LAPSE",
        Suite::Lease,
    ),
    (
        "the lease ends with its heartbeats",
        LEASE,
        "(self.alive_since? + LAPSE).min(token.ends)",
        "token.ends.max(self.alive_since?)",
        Suite::Lease,
    ),
    ("a void token grants nothing", LEASE, ".filter(|_| !self.token_is_void())", "", Suite::Lease),
    (
        "an older token replaces nothing",
        LEASE,
        "is_none_or(|held| held.requested_at < token.requested_at)",
        "is_none_or(|_| true)",
        Suite::Lease,
    ),
    (
        "an overtaken answer prolongs nothing",
        LEASE,
        "self.alive_since.max(Some(sent.at))",
        "Some(sent.at)",
        Suite::Lease,
    ),
    (
        "silence ends a stream",
        LEASE,
        "map_or(Duration::MAX, |at| at + LAPSE)",
        "map_or(Duration::MAX, |_| Duration::MAX)",
        Suite::Lease,
    ),
    (
        "a term ends by the clock",
        TERM,
        "let live = seen > nanos(self.clock.boot());",
        "let live = true;",
        Suite::Lease,
    ),
    ("a permit needs a lease", GATE, "permit.check().map(|()| permit)", "Ok(permit)", Suite::Lease),
    (
        "an ended permit is refused",
        GATE,
        "if self.term.is_live() { Ok(()) } else { Err(Lapsed) }",
        "Ok(())",
        Suite::Lease,
    ),
    (
        "a deadline that has come shuts",
        GATE,
        "if deadline <= self.shared.clock.boot() {",
        "if false {",
        Suite::Lease,
    ),
    ("a shut gate voids its permits", GATE, "self.shared.term.load().end();", "", Suite::Lease),
    (
        "no answer after a lapse",
        LAYER,
        "if let Err(lapsed) = permit.check() {",
        "if let (false, Err(lapsed)) = (true, permit.check()) {",
        Suite::Lease,
    ),
    (
        "no waiting beyond a lapse",
        LAYER,
        "() = permit.lapsed() => return Ok(refusal(grpc, Lapsed)),",
        "",
        Suite::Lease,
    ),
    (
        "a token shown again prolongs nothing",
        SHOWN,
        "return counted.min(*end);",
        "return counted;",
        Suite::Lease,
    ),
    ("least epochs count", TRUST, "min_epoch: self.least.of(holder),", "min_epoch: 0,", Suite::Attach),
    ("least epochs are remembered", SESSION, "trust.least.raise(&least);", "", Suite::Attach),
    (
        "least epochs outlive an enrolment",
        SESSION,
        "enrolment.trust.least.raise(&known.least);",
        "",
        Suite::Attach,
    ),
    ("a call needs an own lease", ATTACH, "self.own.check()?;", "", Suite::Attach),
    (
        "a call needs the peer's token",
        ATTACH,
        "if self.peer.is_live() { Ok(()) } else { Err(not_attached()) }",
        "Ok(())",
        Suite::Attach,
    ),
    ("a token that ends as it comes", ATTACH, "if end <= now {", "if false {", Suite::Attach),
    (
        "a revoked peer is detached",
        ATTACH,
        "_ = trust.wait_for(|trust| trust.least.of(&peer) > epoch.load(Ordering::Acquire)) => term.end(),",
        "",
        Suite::Attach,
    ),
    ("an ended Attach is void", ATTACH, "self.permit.peer.end();", "", Suite::Attach),
    ("only one role may attach", ANSWERING, "if identity.role() != allowed {", "if false {", Suite::Attach),
    (
        "no call before Attach",
        ANSWERING,
        "permit.check().map(|()| permit.clone()).map_err(|_| not_attached())",
        "Ok(permit.clone())",
        Suite::Attach,
    ),
    ("the guard looks at the caller", GUARD, "if method.allows(caller) {", "if true {", Suite::Guard),
    (
        "the guard looks at the user",
        GUARD,
        "if peer.is_some_and(|peer| peer.uid == uid || (administrator && peer.uid == 0)) {",
        "if true {",
        Suite::Guard,
    ),
    (
        "a method needs an entry",
        GUARD,
        "if let Some(entry) = table(&path) {",
        "if let Some(entry) = table(&path).or_else(|| method(\"/cube.inference.v1.ModelService/ListModels\")) {",
        Suite::Guard,
    ),
    ("a revoked identity is not given", ROSTER, "if standing.revoked {", "if false {", Suite::Service),
    ("an identity has one holder", ROSTER, "if standing.place.is_some() {", "if false {", Suite::Service),
    (
        "a lost place stays lost",
        ROSTER,
        "Some(place) if place.ticket == ticket => Ok(()),",
        "Some(_) => Ok(()),",
        Suite::Service,
    ),
    ("heartbeats count by one", HEALTH, "if beat.sequence != expected {", "if false {", Suite::Service),
    (
        "a listener has a key of its own",
        IDENTITY,
        "if key.spki_der() == svid_key.spki_der() {",
        "if false {",
        Suite::Service,
    ),
];

/// Everything that is taken out of `sources`.
pub(super) fn changes(sources: &Path) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for (file, call, suite) in CALLS {
        let text = fs::read_to_string(sources.join(file)).with_context(|| (*file).to_owned())?;
        let found = statements(&text, call);
        ensure!(!found.is_empty(), "{file} has no call of {call}");
        changes.extend(found.into_iter().map(|statement| without(file, *suite, &text, statement)));
    }
    for (what, file, from, to, suite) in OTHERS {
        let (from, to) = ((*from).to_owned(), (*to).to_owned());
        changes.push(Change { id: (*what).to_owned(), file, suite: *suite, from, to, nth: 0 });
    }
    Ok(changes)
}

/// The statements of `text` that begin with `call`, each with where it begins: `call…)?;`, or `call…)` at a block's end.
fn statements<'t>(text: &'t str, call: &str) -> Vec<(usize, &'t str)> {
    let begins = text
        .match_indices(call)
        .map(|(at, _)| at)
        .filter(|at| text[..*at].rsplit('\n').next().is_some_and(|before| before.trim().is_empty()));
    begins.filter_map(|at| Some((at, &text[at..at + length(&text[at..])?]))).collect()
}

/// Up to the parenthesis that closes the first one, and what ends a statement.
fn length(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let closing = text.char_indices().find(|(_, letter)| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return false,
        }
        depth == 0
    });
    let end = closing?.0 + 1;
    Some(end + if text[end..].starts_with("?;") { 2 } else { 0 })
}

fn without(file: &'static str, suite: Suite, text: &str, (at, statement): (usize, &str)) -> Change {
    let nth = text[..at].matches(statement).count();
    let to = if statement.ends_with("?;") { "" } else { "Ok(())" }.to_owned();
    let words = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let again = if nth == 0 { String::new() } else { format!(" ({})", nth + 1) };
    Change { id: format!("{file}: {words}{again}"), file, suite, from: statement.to_owned(), to, nth }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::workspace;

    #[test]
    fn everything_that_is_taken_out_is_there() {
        for change in changes(&workspace()).unwrap() {
            let text = fs::read_to_string(workspace().join(change.file)).unwrap();
            assert_ne!(change.applied(&text).unwrap(), text, "{}", change.id);
            let alone = text.matches(&change.from).count() == 1;
            assert!(
                alone || !OTHERS.iter().any(|other| other.0 == change.id),
                "{}: not one place",
                change.id
            );
        }
    }

    #[test]
    fn a_statement_is_found_to_its_end() {
        let text = "fn f() {\n    check(a(b), C)?;\n    let x = check(d, E);\n    check(\n        g,\n    )\n}\nfn check() {}";
        let found: Vec<_> = statements(text, "check(").into_iter().map(|(_, statement)| statement).collect();
        assert_eq!(found, ["check(a(b), C)?;", "check(\n        g,\n    )"]);
        let change = without("f.rs", Suite::Token, text, statements(text, "check(")[1]);
        assert!(change.applied(text).unwrap().contains("    Ok(())\n}"));
    }
}
