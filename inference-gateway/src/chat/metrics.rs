//! Time and tokens of each answer, on every way out.

use std::sync::Arc;

use proto::{
    inference::v1::{ChatEvent, FinishReason, Model, Sampling, Usage, chat_event::Event},
    reason::{INTERNAL, Reason},
};
use service_runtime::{Attribute, Buckets, Counter, Histogram, Metric, Registry, describe};
use tokio::time::Instant;
use tonic::Status;

use super::names::{Names, OTHER};
use crate::callers::Caller;

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
/// What each caller has had, to be billed or bounded by: on every way out, and said to be partial where the model server's own
/// count never came.
const CALLERS: Metric<3> = Metric {
    name: "cube_caller_tokens_total",
    help: "Tokens of each caller; a partial count is of pieces of output that came before the answer broke off",
    labels: ["caller", "gen_ai_token_type", "count"],
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

/// Operations whose output is a model's.
const GENERATES: [&str; 2] = ["chat", "text_completion"];
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
    callers: Counter<3>,
    names: Arc<Labels>,
}

/// Names that may be told.
#[derive(Debug)]
struct Labels {
    /// From the backend's own list, never from a request or from an answer, where a backend may repeat what it was asked for.
    models: Names,
    /// As the operator calls them.
    callers: Names,
}

impl ChatMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            duration: registry.histogram(&DURATION, SECONDS),
            first_token: registry.histogram(&FIRST_TOKEN, SECONDS),
            per_token: registry.histogram(&PER_TOKEN, TOKEN_SECONDS),
            tokens: registry.histogram(&TOKENS, COUNTS),
            callers: registry.counter(&CALLERS),
            names: Arc::new(Labels { models: Names::at_most(64), callers: Names::at_most(1024) }),
        }
    }

    /// The backend's own list of its models.
    pub(crate) fn learn(&self, models: &[Model]) {
        for name in models.iter().map(|model| model.name.trim_start_matches("models/")) {
            self.names.models.learn(name);
        }
    }

    /// An answer is asked for.
    pub(crate) fn begin(
        &self,
        operation: &'static str,
        caller: &Caller,
        sampling: Option<&Sampling>,
    ) -> Meter {
        describe_request(sampling);
        Meter {
            metrics: self.clone(),
            operation,
            caller: self.names.callers.learn(caller.name()),
            since: Instant::now(),
            first: None,
            pieces: 0,
            model: OTHER,
            usage: None,
            error: CANCELLED,
        }
    }
}

/// One answer; told of when this is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    metrics: ChatMetrics,
    operation: &'static str,
    caller: &'static str,
    since: Instant,
    first: Option<Instant>,
    pieces: u64,
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
            // Of a piece that counts already.
            Some(Event::Logprobs(_)) | None => {}
            Some(_) => self.piece(),
        }
    }

    /// Who answers.
    pub(crate) fn model(&mut self, model: &str) {
        self.model = self.metrics.names.models.name(model);
    }

    /// A piece of output.
    pub(crate) fn piece(&mut self) {
        self.first.get_or_insert_with(Instant::now);
        self.pieces += 1;
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

impl Meter {
    /// What the caller has had.
    fn count(&self) {
        let add = |kind, count, tokens| self.metrics.callers.add([self.caller, kind, count], tokens);
        let Some(usage) = self.usage else {
            // Lists, and tokens of a text, are not written by a model.
            if GENERATES.contains(&self.operation) {
                add("output", "partial", self.pieces);
            }
            return;
        };
        let count = if usage.estimated || !self.error.is_empty() { "partial" } else { "exact" };
        add("input", count, usage.prompt_tokens.into());
        add("output", count, usage.completion_tokens.into());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let (metrics, model, operation) = (&self.metrics, self.model, self.operation);
        let seconds = |until: Instant| until.saturating_duration_since(self.since).as_secs_f64();
        let now = Instant::now();
        self.count();
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
mod tests;
