//! What is told of each request on a listener: one span, one access line, its metrics.
//!
//! Nothing here looks at a body, and of a request's head only at what is one of ours: the method
//! and path have to be a known route before they are named.

mod route;
mod seen;

use std::sync::Arc;

use http::{Request, Response};
use opentelemetry::trace::TraceContextExt;
use proto::reason::Reason;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    metrics::{Buckets, Counter, Gauge, Held, Histogram, Metric, Registry},
    telemetry::extract,
};

pub use self::route::Routes;
pub(crate) use self::seen::Seen;

const REQUESTS: Metric<5> = Metric {
    name: "cube_requests_total",
    help: "Requests that ended, by route, gRPC or HTTP status, outcome and reason",
    labels: ["listener", "route", "code", "outcome", "reason"],
};
const DURATION: Metric<2> = Metric {
    name: "cube_request_duration_seconds",
    help: "From a request's head to its answer's last byte",
    labels: ["listener", "route"],
};
const IN_FLIGHT: Metric<1> = Metric {
    name: "cube_requests_in_flight",
    help: "Requests whose answers have not ended",
    labels: ["listener"],
};
const CONNECTIONS: Metric<1> = Metric {
    name: "cube_connections",
    help: "Connections that are open, handshakes included",
    labels: ["listener"],
};
const HANDSHAKES_FAILED: Metric<1> = Metric {
    name: "cube_handshakes_failed_total",
    help: "Connections that ended before their TLS handshake did",
    labels: ["listener"],
};

/// From a millisecond to four minutes and a half.
const SECONDS: Buckets = Buckets(&[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
    32.768, 65.536, 131.072, 262.144,
]);

/// The metrics of every listener of a process.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    requests: Counter<5>,
    duration: Histogram<2>,
    in_flight: Gauge<1>,
    connections: Gauge<1>,
    handshakes_failed: Counter<1>,
}

impl RequestMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            requests: registry.counter(&REQUESTS),
            duration: registry.histogram(&DURATION, SECONDS),
            in_flight: registry.gauge(&IN_FLIGHT),
            connections: registry.gauge(&CONNECTIONS),
            handshakes_failed: registry.counter(&HANDSHAKES_FAILED),
        }
    }
}

/// What becomes of the trace context that callers of a listener bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceContext {
    /// Our own services call: their spans are our spans' parents.
    Joined,
    /// Anybody calls: a span of theirs is linked to, and decides neither parent nor sampling.
    Linked,
}

/// Watches one listener; a cheap handle.
#[derive(Debug, Clone)]
pub struct Observer(Arc<Watch>);

#[derive(Debug)]
struct Watch {
    listener: &'static str,
    context: TraceContext,
    routes: Routes,
    metrics: RequestMetrics,
}

impl Default for Observer {
    /// Of a listener that nobody asks about.
    fn default() -> Self {
        let metrics = RequestMetrics::register(&mut Registry::default());
        Self::new("", TraceContext::Linked, Routes::new(&[], &[]), metrics)
    }
}

impl Observer {
    /// Of the listener with this name.
    pub fn new(
        listener: &'static str,
        context: TraceContext,
        routes: Routes,
        metrics: RequestMetrics,
    ) -> Self {
        Self(Arc::new(Watch { listener, context, routes, metrics }))
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn connection(&self) -> Held {
        self.0.metrics.connections.hold([self.0.listener])
    }

    pub(crate) fn handshake_failed(&self) {
        self.0.metrics.handshakes_failed.add([self.0.listener], 1);
    }

    /// A request has come.
    pub(crate) fn seen<B>(&self, request: &Request<B>) -> Seen {
        let route = self.0.routes.of(request.uri().path());
        let span = self.span(route, request);
        Seen::new(self.clone(), route, span, self.0.metrics.in_flight.hold([self.0.listener]))
    }

    fn span<B>(&self, route: &'static str, request: &Request<B>) -> Span {
        let span = info_span!(
            target: "access",
            "request",
            otel.name = route,
            otel.kind = "server",
            listener = self.0.listener,
            request_id = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        let caller = extract(request.headers());
        if caller.span().span_context().is_valid() {
            match self.0.context {
                // An error says that spans are not exported.
                TraceContext::Joined => drop(span.set_parent(caller)),
                TraceContext::Linked => span.add_link(caller.span().span_context().clone()),
            }
        }
        span
    }
}

/// Marks an answer with the reason of its refusal, where the dialect hides it in the body.
pub fn refused_for<B>(mut response: Response<B>, reason: &str) -> Response<B> {
    if let Some(reason) = Reason::named(reason) {
        response.extensions_mut().insert(Refused(reason.name));
    }
    response
}

/// One of [`proto::reason`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused(pub(crate) &'static str);

#[cfg(test)]
mod tests;
