//! Metrics, as Prometheus scrapes them.
//!
//! Every label value is a `&'static str`: what a caller sent cannot become one, and the number of
//! series is bounded by the code. What is registered is what `docs/metrics.md` lists.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{
        counter::{self, ConstCounter},
        family::{Family, MetricConstructor},
        gauge::{self, ConstGauge},
        histogram,
    },
    registry,
};

/// A metric: its name as scraped, what it says, and the names of its labels.
#[derive(Debug, Clone, Copy)]
pub struct Metric<const N: usize> {
    /// As scraped: with its unit, and a counter's `_total`.
    pub name: &'static str,
    /// One sentence, without its end.
    pub help: &'static str,
    /// In the order in which values are given.
    pub labels: [&'static str; N],
}

/// What was registered, for the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricFact {
    /// As scraped.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// One sentence, without its end.
    pub help: &'static str,
    /// Names of the labels.
    pub labels: Vec<&'static str>,
}

/// The metrics of one process.
#[derive(Debug, Default)]
pub struct Registry {
    inner: registry::Registry,
    facts: Vec<MetricFact>,
}

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Counts what happened.
#[derive(Debug, Clone)]
pub struct Counter<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, counter::Counter>,
}

/// Says how much there is now.
#[derive(Debug, Clone)]
pub struct Gauge<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, gauge::Gauge>,
}

/// Says how values are spread.
#[derive(Debug, Clone)]
pub struct Histogram<const N: usize> {
    labels: [&'static str; N],
    family: Family<Labels<N>, histogram::Histogram, Buckets>,
}

/// Upper bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(pub &'static [f64]);

impl Registry {
    /// Registers a counter; its name ends with `_total`.
    pub fn counter<const N: usize>(&mut self, metric: &Metric<N>) -> Counter<N> {
        self.note("counter", metric);
        let counter = Counter { labels: metric.labels, family: Family::default() };
        self.inner.register(without_ending(metric.name), metric.help, counter.family.clone());
        counter
    }

    /// Registers a gauge.
    pub fn gauge<const N: usize>(&mut self, metric: &Metric<N>) -> Gauge<N> {
        self.note("gauge", metric);
        let gauge = Gauge { labels: metric.labels, family: Family::default() };
        self.inner.register(metric.name, metric.help, gauge.family.clone());
        gauge
    }

    /// Registers a histogram.
    pub fn histogram<const N: usize>(&mut self, metric: &Metric<N>, buckets: Buckets) -> Histogram<N> {
        self.note("histogram", metric);
        let family = Family::new_with_constructor(buckets);
        let histogram = Histogram { labels: metric.labels, family };
        self.inner.register(metric.name, metric.help, histogram.family.clone());
        histogram
    }

    /// Registers a gauge that is read when it is scraped.
    pub fn read_gauge(&mut self, metric: &Metric<0>, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.note("gauge", metric);
        self.inner.register_collector(Box::new(Read { metric: *metric, kind: Kind::Gauge(Arc::new(read)) }));
    }

    /// Registers a counter that is read when it is scraped; its name ends with `_total`.
    pub fn read_counter(&mut self, metric: &Metric<0>, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.note("counter", metric);
        self.inner
            .register_collector(Box::new(Read { metric: *metric, kind: Kind::Counter(Arc::new(read)) }));
    }

    /// What was registered so far.
    pub fn facts(&self) -> &[MetricFact] {
        &self.facts
    }

    /// All values now, in OpenMetrics' text form.
    pub fn scrape(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.inner).map(|()| text)
    }

    fn note<const N: usize>(&mut self, kind: &'static str, metric: &Metric<N>) {
        let Metric { name, help, labels } = *metric;
        self.facts.push(MetricFact { name, kind, help, labels: labels.to_vec() });
    }
}

impl<const N: usize> Counter<N> {
    /// Counts `more`, under these label values.
    pub fn add(&self, values: [&'static str; N], more: u64) {
        self.family.get_or_create(&labelled(self.labels, values)).inc_by(more);
    }
}

impl<const N: usize> Gauge<N> {
    /// Sets the value.
    pub fn set(&self, values: [&'static str; N], value: i64) {
        self.family.get_or_create(&labelled(self.labels, values)).set(value);
    }

    /// One more until the returned guard is dropped.
    pub fn hold(&self, values: [&'static str; N]) -> Held {
        let gauge = self.family.get_or_create_owned(&labelled(self.labels, values));
        gauge.inc();
        Held(gauge)
    }
}

/// One, counted in a gauge as long as this lives.
#[derive(Debug)]
pub struct Held(gauge::Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<const N: usize> Histogram<N> {
    /// Notes `value`, under these label values.
    pub fn observe(&self, values: [&'static str; N], value: f64) {
        self.family.get_or_create(&labelled(self.labels, values)).observe(value);
    }
}

impl MetricConstructor<histogram::Histogram> for Buckets {
    fn new_metric(&self) -> histogram::Histogram {
        histogram::Histogram::new(self.0.iter().copied())
    }
}

fn labelled<const N: usize>(names: [&'static str; N], values: [&'static str; N]) -> Labels<N> {
    let mut values = values.into_iter();
    names.map(|name| (name, values.next().unwrap_or_default()))
}

#[derive(Clone)]
struct Read {
    metric: Metric<0>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Counter(Arc<dyn Fn() -> u64 + Send + Sync>),
    Gauge(Arc<dyn Fn() -> f64 + Send + Sync>),
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("metric", &self.metric).finish_non_exhaustive()
    }
}

impl Collector for Read {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Metric { name, help, .. } = self.metric;
        match &self.kind {
            Kind::Counter(read) => {
                let counter = ConstCounter::new(read());
                let name = without_ending(name);
                counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
            }
            Kind::Gauge(read) => {
                let gauge = ConstGauge::new(read());
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            }
        }
    }
}

/// The encoding adds the ending of a counter.
fn without_ending(name: &'static str) -> &'static str {
    name.strip_suffix("_total").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Metric<2> = Metric { name: "cube_seen_total", help: "Seen", labels: ["kind", "end"] };
    const READ: Metric<0> = Metric { name: "cube_read_total", help: "Read", labels: [] };
    const NOW: Metric<0> = Metric { name: "cube_now", help: "Now", labels: [] };
    const HELD: Metric<1> = Metric { name: "cube_held", help: "Held", labels: ["kind"] };
    const TOOK: Metric<0> = Metric { name: "cube_took_seconds", help: "Took", labels: [] };

    #[test]
    fn a_scrape_says_what_happened() {
        let mut registry = Registry::default();
        let (seen, held) = (registry.counter(&SEEN), registry.gauge(&HELD));
        let took = registry.histogram(&TOOK, Buckets(&[0.1, 1.0]));
        registry.read_gauge(&NOW, || 7.0);
        registry.read_counter(&READ, || 3);
        seen.add(["a", "ok"], 2);
        took.observe([], 0.5);
        let guard = held.hold(["a"]);
        let text = registry.scrape().unwrap();
        for line in [
            "# TYPE cube_seen counter",
            "cube_seen_total{kind=\"a\",end=\"ok\"} 2",
            "cube_held{kind=\"a\"} 1",
            "cube_read_total 3",
            "cube_now 7.0",
            "cube_took_seconds_bucket{le=\"1.0\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        drop(guard);
        assert!(registry.scrape().unwrap().contains("cube_held{kind=\"a\"} 0"));
    }

    #[test]
    fn what_is_registered_is_known() {
        let mut registry = Registry::default();
        registry.counter(&SEEN);
        registry.read_gauge(&NOW, || 0.0);
        let names: Vec<_> = registry.facts().iter().map(|fact| (fact.name, fact.kind)).collect();
        assert_eq!(names, [("cube_seen_total", "counter"), ("cube_now", "gauge")]);
    }
}
