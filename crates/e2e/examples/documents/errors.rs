//! `docs/errors.md`: every reason and every exit code.

use proto::reason::{self, Reason, Retry};
use service_runtime::Exit;

use crate::{exit::Exit as CubeExit, row};

pub(crate) fn page() -> String {
    let service = |exit: &Exit| row(&[&(*exit as u8).to_string(), exit.meaning(), exit.mend()]);
    let cube = |(exit, verdict, meaning, mend): &(CubeExit, &str, &str, &str)| {
        row(&[&(*exit as u8).to_string(), verdict, meaning, mend])
    };
    let mut page = INTRODUCTION.to_owned();
    page.extend(reason::ALL.iter().map(reason_row));
    page.push_str(SERVICE_EXITS);
    page.extend(Exit::ALL.iter().map(service));
    page.push_str(CUBE_EXITS);
    page.extend(CubeExit::TABLE.iter().map(cube));
    page
}

fn reason_row(reason: &Reason) -> String {
    let retry = match reason.retry {
        Retry::No => "no",
        Retry::Later => "later",
    };
    let codes: Vec<_> = reason.codes.iter().map(|code| screaming(&format!("{code:?}"))).collect();
    let http: Vec<_> = reason.http.iter().map(ToString::to_string).collect();
    let name = format!("`{}`", reason.name);
    row(&[&name, reason.meaning, &codes.join(", "), &http.join(", "), retry, reason.mend])
}

/// `NotFound` as the gRPC specification spells it.
fn screaming(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

const INTRODUCTION: &str = "\
# Errors

This page is generated from the code; `cargo xtask codegen` renews it.

## Reasons

Every refusal carries a stable reason; branch on it and not on the message, which is for people and may change.

- **gRPC**: a `google.rpc.Status` with a `google.rpc.ErrorInfo` of domain `cube`: `reason`, and in `metadata` what the
  table names (`field`, `phase`, `check`).
- **HTTP**: OpenAI's error body, `{\"error\": {\"message\", \"type\", \"param\", \"code\"}}`; `code` is the reason, `param` the
  field.
- **In the middle of an answer** the status line has been sent already. gRPC says the same in its trailers. A stream of
  server-sent events has one more `data:` line with the error body, no `[DONE]`, and then the connection breaks off, so
  that no client takes what came for a whole answer.

*Retry* says whether the same request may succeed later; then with backoff. gRPC statuses without HTTP status stay between
Cube's own services.

| reason | meaning | gRPC | HTTP | retry | who should do what |
|---|---|---|---|---|---|
";

const SERVICE_EXITS: &str = "
## Exit codes of the services

Of attestation-svc, inference-gateway and backend-adapter alike. A supervisor may start a service again after 5, 6 and 7,
with a pause; after 2, 3 and 4 it would fail again.

| code | meaning | what to do |
|---|---|---|
";

const CUBE_EXITS: &str = "
## Exit codes of `cube`

`cube verify` ends with its verdict; `cube chat` and `cube trust` with that of the check before they do anything.
`cube report` judges nothing: 0 is evidence saved. `cube policy` judges no evidence, but before it takes values from some:
`diff` ends with 1 where the policies differ, `import` with 1 where what it wrote needs a decision first.

| code | verdict | meaning | what to do |
|---|---|---|---|
";
