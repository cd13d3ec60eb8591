//! docs/metrics.md: what each service registers.

use service_runtime::MetricFact;

use crate::row;

const HEAD: &str = "# Metrics

This page is generated from the code that registers the metrics; `cargo xtask codegen` renews it. How to get at them, and
what they can never hold: [telemetry.md](telemetry.md).

Label values are constants of the program: routes are patterns, reasons are those of [errors.md](errors.md), and
`gen_ai_response_model` is a name of the backend's own list of models, or `other`. An empty label value means that there
is nothing to say, such as no error. Names with `gen_ai` are those of OpenTelemetry's semantic conventions for generative
AI, in Prometheus' spelling; `gen_ai_client_token_usage` counts tokens.
";

/// The page.
pub(crate) fn page() -> String {
    let services = [
        ("attestation-svc", attestation_svc::metrics()),
        ("inference-gateway", inference_gateway::metrics()),
        ("backend-adapter", backend_adapter::metrics()),
    ];
    services.iter().fold(HEAD.to_owned(), |page, (service, facts)| page + &section(service, facts))
}

fn section(service: &str, facts: &[MetricFact]) -> String {
    let head = format!("\n## {service}\n\n| metric | type | labels | says |\n|---|---|---|---|\n");
    facts.iter().fold(head, |text, fact| {
        let labels: Vec<_> = fact.labels.iter().map(|label| format!("`{label}`")).collect();
        text + &row(&[&format!("`{}`", fact.name), fact.kind, &labels.join(", "), &format!("{}.", fact.help)])
    })
}
