//! `docs/access.md`: who may call which method, and what has to hold before it runs.

use std::fmt::Debug;

use proto::access::{Caller, METHODS, Method, Rate, Requires};

use crate::row;

pub(crate) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.extend(METHODS.iter().map(method));
    page + &section(CALLERS, Caller::ALL) + &section(REQUIRES, Requires::ALL) + &section(RATES, Rate::ALL)
}

fn method(method: &Method) -> String {
    let callers: Vec<_> = method.callers.iter().map(name).collect();
    let path = format!("`{}`", method.path.trim_start_matches('/'));
    row(&[&path, &callers.join(", "), &name(&method.requires), &name(&method.rate)])
}

fn section(head: &str, all: &[(impl Debug, &str)]) -> String {
    let rows = all.iter().map(|(one, meaning)| row(&[&name(one), meaning]));
    std::iter::once(head.to_owned()).chain(rows).collect()
}

/// `AttachedPeer` as "attached peer".
fn name(variant: &impl Debug) -> String {
    let mut text = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

const INTRODUCTION: &str = "\
# Who may call what

This page is generated from the table that the listeners consult (`proto/src/access.rs`); `cargo xtask codegen` renews it.

A method that is not here is refused, and so is whoever is not named beside it. The columns are explained below.

| method | callers | requires | rate class |
|---|---|---|---|
";

const CALLERS: &str = "
## Callers

Known before the first byte of a request is read: by the listener, by the SVID of the connection, or by what the kernel says
of the process at the other end of a unix socket. The gateway is a service, too.

| caller | is |
|---|---|
";

const REQUIRES: &str = "
## Requires

What has to hold before a call reaches its method. Where it does not, the reason is `ATTESTATION_LAPSED` or
`PEER_NOT_ATTACHED` ([errors.md](errors.md)).

| requires | is |
|---|---|
";

const RATES: &str = "
## Rate classes

What a call costs, and so what bounds the number of calls. None of the bounds counts calls per caller yet.

| class | is |
|---|---|
";
