//! What the demo says. Progress goes to stderr; stdout belongs to the results.
#![expect(clippy::print_stderr, reason = "the demo talks to a person")]

use std::process::ExitStatus;

use super::Demo;
use crate::files::Service;

pub(super) fn progress(line: &str) {
    eprintln!("{line}");
}

pub(super) fn banner() {
    eprintln!(
        "\n  SIMULATED HARDWARE. The chip below is software with a root of its own, made for this run.\n  \
         Everything else is what is shipped. It proves how Cube works, not where your prompt goes.\n"
    );
}

pub(super) fn question(prompt: &str) {
    eprintln!("\n> {prompt}\n");
}

pub(super) fn try_yourself(demo: &Demo) {
    let files = demo.files();
    let (url, ca, policy, root) = (&demo.url, files.ca(), files.client_policy(), files.root());
    let (ca, policy, root) = (ca.display(), policy.display(), root.display());
    let model = &demo.model;
    let authority = url.trim_start_matches("https://");
    let pid = |service| demo.stack.pid(service).unwrap_or_default();
    eprintln!(
        "\nUp until Ctrl-C. Try:\n\n  \
         cargo run -q -p cube-cli -- verify {url} --policy {policy} --allow-simulated {root}\n\n  \
         cargo run -q -p cube-cli -- chat {url} --policy {policy} --allow-simulated {root} \"What is water?\"\n\n  \
         curl --cacert {ca} {url}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"What is rain?\"}}]}}'\n\n  \
         grpcurl -cacert {ca} {authority} list\n\n  \
         grpcurl -cacert {ca} {authority} describe cube.inference.v1.ChatSpec\n\n  \
         grpcurl -cacert {ca} \\\n    \
         -d '{{\"spec\":{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"ROLE_USER\",\"content\":[{{\"text\":\"What is rain?\"}}]}}]}}}}' \\\n    \
         {authority} cube.inference.v1.InferenceService/StreamChat\n\n\
         Running: attestation-svc {}, inference-gateway {}, backend-adapter {}\n\n  \
         kill -9 {}     # attestation-svc: watch the door shut within 15 seconds",
        pid(Service::Attestation),
        pid(Service::Gateway),
        pid(Service::Adapter),
        pid(Service::Attestation),
    );
}

pub(super) fn ended(demo: &Demo, service: Service, status: ExitStatus) {
    eprintln!("\n{} ended ({status}).", service.name());
    if service == Service::Attestation {
        eprintln!("Nobody renews the lease now; {} serves until it lapses …", demo.url);
    }
}

pub(super) fn door_is_shut(demo: &Demo) {
    let files = demo.files();
    eprintln!(
        "The door is shut: every request gets 503 / UNAVAILABLE with ATTESTATION_LAPSED, open streams were cut.\n\
         Start attestation-svc again, and the others serve again by themselves:\n\n  \
         cargo run -q -p dev-stack --bin sim-attestation-svc -- --config {} --simulated-root {} --machine {} --guest {}",
        files.config(Service::Attestation).display(),
        files.root().display(),
        files.machine().display(),
        files.guest().display(),
    );
}
