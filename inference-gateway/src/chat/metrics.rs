//! Time and tokens of each answer, on every way out.

use std::sync::{Arc, Mutex, PoisonError};

use proto::{
    inference::v1::{ChatEvent, FinishReason, Model, Sampling, Usage, chat_event::Event},
    reason::{INTERNAL, Reason},
};
use service_runtime::{Attribute, Buckets, Histogram, Metric, Registry, describe};
use tokio::time::Instant;
use tonic::Status;

const DURATION: Metric<4> = Metric {
    name: "gen_ai_server_request_duration_seconds",
    help: "From asking the backend to the end of its answer",
    labels: ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model", "error_type"],
};
const FIRST_TOKEN: Metric<3> = Metric {
    name: "gen_ai_server_time_to_first_token_seconds",
    help: "From asking the backend to its first output",
    labels: ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model"],
};
const PER_TOKEN: Metric<3> = Metric {
    name: "gen_ai_server_time_per_output_token_seconds",
    help: "Between two tokens after the first, in the mean of one whole answer",
    labels: ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model"],
};
const TOKENS: Metric<4> = Metric {
    name: "gen_ai_client_token_usage",
    help: "Tokens of one answer as the backend counts them",
    labels: ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model", "gen_ai_token_type"],
};

const SECONDS: Buckets =
    Buckets(&[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]);
const TOKEN_SECONDS: Buckets =
    Buckets(&[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]);
const COUNTS: Buckets = Buckets(&[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
]);

const PROVIDER: &str = "cube";
/// `error_type` of an answer whose caller left.
const CANCELLED: &str = "cancelled";

/// The metrics of all answers; a cheap handle.
#[derive(Debug, Clone)]
pub struct ChatMetrics {
    duration: Histogram<4>,
    first_token: Histogram<3>,
    per_token: Histogram<3>,
    tokens: Histogram<4>,
    models: Arc<KnownModels>,
}

impl ChatMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            duration: registry.histogram(&DURATION, SECONDS),
            first_token: registry.histogram(&FIRST_TOKEN, SECONDS),
            per_token: registry.histogram(&PER_TOKEN, TOKEN_SECONDS),
            tokens: registry.histogram(&TOKENS, COUNTS),
            models: Arc::default(),
        }
    }

    /// The backend's own list of its models.
    pub(crate) fn learn(&self, models: &[Model]) {
        self.models.learn(models);
    }

    /// An answer is asked for.
    pub(crate) fn begin(&self, operation: &'static str, sampling: Option<&Sampling>) -> Meter {
        describe_request(sampling);
        Meter {
            metrics: self.clone(),
            operation,
            since: Instant::now(),
            first: None,
            model: OTHER,
            usage: None,
            error: CANCELLED,
        }
    }
}

/// Names of models that may be told. A name comes from the backend's own list, never from a
/// request or from an answer, where a backend may repeat what it was asked for.
#[derive(Debug, Default)]
struct KnownModels(Mutex<Vec<&'static str>>);

/// Most names that are remembered, for the life of the process.
const MOST_MODELS: usize = 64;
/// What every other model is called.
const OTHER: &str = "other";

impl KnownModels {
    fn learn(&self, models: &[Model]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in models.iter().map(|model| model.name.trim_start_matches("models/")) {
            if known.len() < MOST_MODELS && !known.contains(&name) {
                // Never freed, and bounded: labels live as long as the process.
                known.push(String::leak(name.to_owned()));
            }
        }
    }

    fn name(&self, model: &str) -> &'static str {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().copied().find(|name| *name == model).unwrap_or(OTHER)
    }
}

/// One answer; told of when this is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    metrics: ChatMetrics,
    operation: &'static str,
    since: Instant,
    first: Option<Instant>,
    model: &'static str,
    usage: Option<Usage>,
    error: &'static str,
}

impl Meter {
    /// The next event of the answer.
    pub(super) fn event(&mut self, event: &ChatEvent) {
        match &event.event {
            Some(Event::Started(started)) => self.model(&started.model),
            Some(Event::Usage(usage)) => self.usage(*usage),
            Some(Event::Finished(finished)) => describe_finish(finished.reason()),
            Some(_) => self.piece(),
            None => {}
        }
    }

    /// Who answers.
    pub(crate) fn model(&mut self, model: &str) {
        self.model = self.metrics.models.name(model);
    }

    /// A piece of output.
    pub(crate) fn piece(&mut self) {
        self.first.get_or_insert_with(Instant::now);
    }

    /// Token counts.
    pub(crate) fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// The answer is whole.
    pub(crate) fn whole(&mut self) {
        self.error = "";
    }

    /// The answer failed.
    pub(crate) fn failed(&mut self, status: &Status) {
        let reason = proto::reason_of(status).and_then(|name| Reason::named(&name));
        self.error = reason.map_or(INTERNAL, |reason| reason.name);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let (metrics, model, operation) = (&self.metrics, self.model, self.operation);
        let seconds = |until: Instant| until.saturating_duration_since(self.since).as_secs_f64();
        let now = Instant::now();
        metrics.duration.observe([operation, PROVIDER, model, self.error], seconds(now));
        describe("gen_ai.operation.name", Attribute::Word(operation));
        describe("gen_ai.provider.name", Attribute::Word(PROVIDER));
        describe("gen_ai.response.model", Attribute::Word(model));
        if !self.error.is_empty() {
            describe("error.type", Attribute::Word(self.error));
        }
        if let Some(first) = self.first {
            metrics.first_token.observe([operation, PROVIDER, model], seconds(first));
        }
        let Some(usage) = self.usage else { return };
        for (kind, count) in counts(&usage) {
            metrics.tokens.observe([operation, PROVIDER, model, kind], count.into());
        }
        describe("gen_ai.usage.input_tokens", Attribute::Count(usage.prompt_tokens.into()));
        describe("gen_ai.usage.output_tokens", Attribute::Count(usage.completion_tokens.into()));
        if let (Some(first), 2..) = (self.first, usage.completion_tokens) {
            let rest = now.saturating_duration_since(first).as_secs_f64();
            let per_token = rest / f64::from(usage.completion_tokens - 1);
            metrics.per_token.observe([operation, PROVIDER, model], per_token);
        }
    }
}

fn counts(usage: &Usage) -> impl Iterator<Item = (&'static str, u32)> {
    let always = [("input", Some(usage.prompt_tokens)), ("output", Some(usage.completion_tokens))];
    let sometimes = [("cached_input", usage.cached_tokens), ("reasoning", usage.reasoning_tokens)];
    always.into_iter().chain(sometimes).filter_map(|(kind, count)| Some((kind, count?)))
}

/// How a request is to be sampled. Its stop strings and its seed are the caller's own, and stay out.
fn describe_request(sampling: Option<&Sampling>) {
    let Some(sampling) = sampling else { return };
    let number = |number: Option<f32>| number.map(|number| Attribute::Number(number.into()));
    let count = |count: Option<u32>| count.map(|count| Attribute::Count(count.into()));
    for (name, value) in [
        ("gen_ai.request.max_tokens", count(sampling.max_tokens)),
        ("gen_ai.request.temperature", number(sampling.temperature)),
        ("gen_ai.request.top_p", number(sampling.top_p)),
        ("gen_ai.request.top_k", count(sampling.top_k)),
        ("gen_ai.request.presence_penalty", number(sampling.presence_penalty)),
        ("gen_ai.request.frequency_penalty", number(sampling.frequency_penalty)),
    ] {
        if let Some(value) = value {
            describe(name, value);
        }
    }
}

fn describe_finish(reason: FinishReason) {
    let reason = match reason {
        FinishReason::Unspecified => return,
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
    };
    describe("gen_ai.response.finish_reasons", Attribute::Word(reason));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenTelemetry's semantic conventions for generative AI, as of 2026-08; Prometheus spells a
    /// dot as `_` and appends the unit, but for units in braces.
    #[test]
    fn the_names_are_those_of_the_conventions() {
        let prometheus = |name: &str, unit: &str| name.replace('.', "_") + unit;
        for (metric, name, unit) in [
            (DURATION.name, "gen_ai.server.request.duration", "_seconds"),
            (FIRST_TOKEN.name, "gen_ai.server.time_to_first_token", "_seconds"),
            (PER_TOKEN.name, "gen_ai.server.time_per_output_token", "_seconds"),
            (TOKENS.name, "gen_ai.client.token.usage", ""),
        ] {
            assert_eq!(metric, prometheus(name, unit));
        }
        let attributes =
            ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.response.model", "error.type"];
        assert_eq!(DURATION.labels.map(str::to_owned), attributes.map(|name| prometheus(name, "")));
        assert_eq!(TOKENS.labels[3], prometheus("gen_ai.token.type", ""));
    }

    fn model(name: &str) -> Model {
        Model { name: format!("models/{name}"), ..Model::default() }
    }

    fn scraped(story: impl FnOnce(&ChatMetrics)) -> String {
        let mut registry = Registry::default();
        story(&ChatMetrics::register(&mut registry));
        registry.scrape().unwrap()
    }

    fn event(event: Event) -> ChatEvent {
        ChatEvent { event: Some(event), ..ChatEvent::default() }
    }

    fn started(model: &str) -> ChatEvent {
        event(Event::Started(proto::inference::v1::Started { model: model.into(), ..Default::default() }))
    }

    #[test]
    fn only_models_of_the_backends_list_are_named() {
        let text = scraped(|metrics| {
            metrics.learn(&[model("listed")]);
            for name in ["listed", "what the caller asked for"] {
                metrics.begin("chat", None).event(&started(name));
            }
        });
        assert!(text.contains("gen_ai_response_model=\"listed\""), "{text}");
        assert!(text.contains("gen_ai_response_model=\"other\"") && !text.contains("caller"), "{text}");
    }

    #[test]
    fn names_are_bounded() {
        let text = scraped(|metrics| {
            let many: Vec<_> = (0..1000).map(|number| model(&number.to_string())).collect();
            metrics.learn(&many);
            metrics.begin("chat", None).event(&started("63"));
            metrics.begin("chat", None).event(&started("64"));
        });
        assert!(text.contains("model=\"63\"") && !text.contains("model=\"64\""), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_way_out_is_told_of() {
        use std::time::Duration;
        let text = scraped_async(async |metrics: &ChatMetrics| {
            let mut whole = metrics.begin("chat", None);
            tokio::time::advance(Duration::from_secs(1)).await;
            whole.event(&event(Event::Text(proto::inference::v1::TextDelta { text: "secret".into() })));
            tokio::time::advance(Duration::from_secs(2)).await;
            let usage =
                Usage { prompt_tokens: 7, completion_tokens: 5, cached_tokens: Some(3), ..Usage::default() };
            whole.event(&event(Event::Usage(usage)));
            whole.whole();
            let mut failed = metrics.begin("chat", None);
            failed.failed(&proto::status(tonic::Code::DataLoss, proto::reason::BACKEND_TRUNCATED, "cut"));
            drop(metrics.begin("chat", None));
        })
        .await;
        for line in [
            "request_duration_seconds_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"cube\",gen_ai_response_model=\"other\",error_type=\"\"} 3.0",
            "error_type=\"BACKEND_TRUNCATED\"} 0.0",
            "error_type=\"cancelled\"} 0.0",
            "time_to_first_token_seconds_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"cube\",gen_ai_response_model=\"other\"} 1.0",
            "time_per_output_token_seconds_sum{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"cube\",gen_ai_response_model=\"other\"} 0.5",
            "gen_ai_token_type=\"input\"} 7.0",
            "gen_ai_token_type=\"output\"} 5.0",
            "gen_ai_token_type=\"cached_input\"} 3.0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("secret"));
    }

    async fn scraped_async(story: impl AsyncFnOnce(&ChatMetrics)) -> String {
        let mut registry = Registry::default();
        story(&ChatMetrics::register(&mut registry)).await;
        registry.scrape().unwrap()
    }
}
