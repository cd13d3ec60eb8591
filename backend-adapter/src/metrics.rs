//! What the adapter counts. How the model server fares shows in the reasons of its requests.

use health_gate::LeaseMetrics;
use service_runtime::{MetricFact, Registry, RequestMetrics};

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: RequestMetrics,
    pub(crate) lease: LeaseMetrics,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self { requests: RequestMetrics::register(registry), lease: LeaseMetrics::register(registry) }
    }
}

/// What this service counts, for documents.
pub fn metrics() -> Vec<MetricFact> {
    let mut registry = Registry::default();
    drop(Metrics::register(&mut registry));
    registry.facts().to_vec()
}
