//! What the gateway counts. Names of generative AI follow OpenTelemetry's conventions, in Prometheus'
//! spelling.

use health_gate::LeaseMetrics;
use service_runtime::{MetricFact, Registry, RequestMetrics};

use crate::chat::ChatMetrics;

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: RequestMetrics,
    pub(crate) lease: LeaseMetrics,
    pub(crate) chat: ChatMetrics,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            requests: RequestMetrics::register(registry),
            lease: LeaseMetrics::register(registry),
            chat: ChatMetrics::register(registry),
        }
    }
}

/// What this service counts, for documents.
pub fn metrics() -> Vec<MetricFact> {
    let mut registry = Registry::default();
    drop(Metrics::register(&mut registry));
    registry.facts().to_vec()
}
