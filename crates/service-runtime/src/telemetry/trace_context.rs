//! W3C Trace Context between our own services: `traceparent`, and nothing that could carry words.

use http::{HeaderMap, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// Tells the service that is asked which span asks.
pub fn propagate(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Headers(headers));
}

/// Which span asked, where the caller said so.
pub(crate) fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Asked(headers))
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT
            && let Ok(value) = HeaderValue::try_from(value)
        {
            self.0.insert(TRACEPARENT, value);
        }
    }
}

struct Asked<'a>(&'a HeaderMap);

impl Extractor for Asked<'_> {
    /// `tracestate` is free text, so there is none.
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|_| key == TRACEPARENT)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn asked(headers: &[(&'static str, &'static str)]) -> Context {
        let pairs = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        extract(&pairs.collect())
    }

    #[test]
    fn the_callers_span_is_known_and_its_words_are_not() {
        let context = asked(&[(TRACEPARENT, PARENT), ("tracestate", "k=a-prompt"), ("baggage", "k=v")]);
        let span = context.span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(span.is_sampled() && span.trace_state().header().is_empty());
    }

    #[test]
    fn what_is_no_traceparent_is_nobody() {
        for bad in ["", "00-zz", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
            let context = asked(&[(TRACEPARENT, bad)]);
            assert!(!context.span().span_context().is_valid(), "{bad}");
        }
    }
}
