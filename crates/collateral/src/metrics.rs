//! What is counted of certificates and lists.

use service_runtime::{Counter, Gauge, Metric, Registry};

use crate::item::Item;

const ASKED: Metric<2> = Metric {
    name: "cube_kds_requests_total",
    help: "Requests to AMD's key server and its mirrors, by what was asked for (vcek, asvk, crl) and outcome (ok, throttled, \
           refused, unreachable, late, unusable)",
    labels: ["item", "outcome"],
};
const TAKEN: Metric<2> = Metric {
    name: "cube_collateral_total",
    help: "Certificates and revocation lists taken into use, by where they came from (host, directory, cache, kds)",
    labels: ["item", "source"],
};
const DROPPED: Metric<2> = Metric {
    name: "cube_collateral_dropped_total",
    help: "Certificates and revocation lists passed over because they are not what their place says, by place (host, directory, \
           cache)",
    labels: ["item", "source"],
};
const NEXT_UPDATE: Metric<0> = Metric {
    name: "cube_crl_next_update_seconds",
    help: "When the next revocation list is due (nextUpdate), in seconds since 1970; 0 while there is no list",
    labels: [],
};
const ALARM: Metric<0> = Metric {
    name: "cube_crl_alarm",
    help: "1 while the revocation list is missing, has ended or ends within seven days: it should have been renewed long before",
    labels: [],
};

/// Where something came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Host,
    Directory,
    Cache,
    Kds,
}

/// All of them; a cheap handle.
#[derive(Clone, Debug)]
pub struct Metrics {
    asked: Counter<2>,
    taken: Counter<2>,
    dropped: Counter<2>,
    next_update: Gauge<0>,
    alarm: Gauge<0>,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            asked: registry.counter(&ASKED),
            taken: registry.counter(&TAKEN),
            dropped: registry.counter(&DROPPED),
            next_update: registry.gauge(&NEXT_UPDATE),
            alarm: registry.gauge(&ALARM),
        }
    }

    pub(crate) fn asked(&self, item: &Item, outcome: &'static str) {
        self.asked.add([item.kind(), outcome], 1);
    }

    pub(crate) fn taken(&self, item: &Item, source: Source) {
        self.taken.add([item.kind(), source.as_str()], 1);
    }

    pub(crate) fn dropped(&self, kind: &'static str, source: Source) {
        self.dropped.add([kind, source.as_str()], 1);
    }

    pub(crate) fn list(&self, next_update: i64, alarm: bool) {
        self.next_update.set([], next_update);
        self.alarm.set([], alarm.into());
    }
}

impl Source {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Directory => "directory",
            Self::Cache => "cache",
            Self::Kds => "kds",
        }
    }
}
