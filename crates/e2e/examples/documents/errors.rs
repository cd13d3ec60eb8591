//! `docs/errors.md`: every reason and every exit code.

use proto::reason::{self, Reason, Retry};
use service_runtime::Exit;
use snp_platform::PlatformError;

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
    page.push_str(NO_TEE);
    page.extend(no_tee().iter().map(|(line, when)| row(&[&format!("`{line}`"), when])));
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

/// What attestation-svc says of a device that gives no report; its tests hold it to this page.
fn no_tee() -> Vec<(String, &'static str)> {
    let (place, reason) = (|| "PATH".to_owned(), || "REASON".to_owned());
    let late = "the secure processor gave no report within 60s";
    let last = |error| format!("{late}; at the last try, {error}");
    let source = std::io::Error::other(reason());
    vec![
        (PlatformError::Absent { place: place() }.to_string(), ABSENT),
        (PlatformError::PermissionDenied { place: place() }.to_string(), DENIED),
        (last(PlatformError::Throttled { place: place() }), THROTTLED),
        (last(PlatformError::Busy { place: place() }), BUSY),
        (format!("{late}: the host may hold it up; look into the kernel log of guest and host"), LATE),
        (STUCK_LINE.to_owned(), STUCK),
        (PlatformError::VmpckDisabled { place: place(), reason: "REASON" }.to_string(), DISABLED),
        (PlatformError::Firmware { place: place(), reason: reason() }.to_string(), FIRMWARE),
        (PlatformError::OtherReportData { place: place() }.to_string(), OTHER),
        (
            PlatformError::Malformed("PATH holds 0 bytes where a report has 1184".to_owned()).to_string(),
            MALFORMED,
        ),
        (PlatformError::Io { place: place(), operation: "read", source }.to_string(), IO),
    ]
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

const NO_TEE: &str = "
### Exit code 5, line by line

attestation-svc says once why it has no report: `not starting`, with the line as `why` where no device was found, and as
`reason` after `no evidence can be had:` where the device gave no report. `60s` is `start_timeout_seconds`. Later, while it
serves, the same lines are the cause of EVIDENCE_UNAVAILABLE in its log, and it goes on.

None of this is the verdict on a report: a report that the device gives and the policy or AMD's signature refuses ends with
3, 4 or 6. That the report is over what was asked for is checked twice, at the device and by the verifier.

| line | when |
|---|---|
";

const ABSENT: &str = "This is no SEV-SNP guest; or configfs is not mounted, and the container was not given \
    `/dev/sev-guest`; or configfs-tsm speaks for another kind of guest, which the line names.";
const DENIED: &str = "The user of attestation-svc may use neither configfs-tsm nor the device; or `/sys` is mounted \
    read-only and there is no device. configfs gives every request to root, so that another user needs \
    CAP_DAC_OVERRIDE there; the device needs read access only.";
const THROTTLED: &str = "The host limits reports. Asked again after pauses of 0.1 s up to 2 s. A start again may \
    succeed; where it never does, the host's limit is too low.";
const BUSY: &str = "Another process writes into attestation-svc's own requests below configfs-tsm. Asked again in the \
    same way.";
const LATE: &str =
    "The device took a request and did not answer. Linux waits for a throttling host for a minute.";
const STUCK_LINE: &str = "the guest driver did not answer within 60s: stop whatever else asks it for reports; where \
    nothing does, look into the kernel log";
const STUCK: &str = "Another process's request keeps the driver locked, so that not even a device was found.";
const DISABLED: &str = "Linux gives its key up after each request that failed half way, and with it all reports until \
    the guest restarts; starting attestation-svc again does not help.";
const FIRMWARE: &str = "The secure processor, its firmware or the hypervisor refused: REASON is their code in words. A \
    more privileged VMPL than the guest's own is one, a certificate table larger than 16 KiB another.";
const OTHER: &str = "The report is a former one, or another process's. It is not used.";
const MALFORMED: &str = "What the device gave is not a report, or an attribute of configfs-tsm is not what Linux \
    documents. It is not used.";
const IO: &str = "Any other error of the kernel, in its words.";

const CUBE_EXITS: &str = "
## Exit codes of `cube`

`cube verify` ends with its verdict; `cube chat` and `cube trust` with that of the check before they do anything.
`cube report` judges nothing: 0 is evidence saved. `cube policy` judges no evidence, but before it takes values from some:
`diff` ends with 1 where the policies differ, `import` with 1 where what it wrote needs a decision first.

| code | verdict | meaning | what to do |
|---|---|---|---|
";
