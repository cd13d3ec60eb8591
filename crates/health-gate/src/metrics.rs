//! The lease as operators see it.

use std::sync::{Arc, OnceLock};

use service_runtime::{Metric, Registry};

use crate::holder::Holder;

const LIVE: Metric<0> =
    Metric { name: "cube_lease_live", help: "1 while the health lease lives, else 0", labels: [] };
const LAPSES: Metric<0> = Metric {
    name: "cube_lease_lapses_total",
    help: "Times that the health lease came to its end",
    labels: [],
};
const ENROLMENTS: Metric<0> = Metric {
    name: "cube_enrolments_total",
    help: "Times that this process was given its identity, renewals included",
    labels: [],
};
const TRUST_EPOCHS: Metric<0> = Metric {
    name: "cube_trust_epochs_total",
    help: "Starts of attestation-svc that this process has followed",
    labels: [],
};

/// The metrics of a holder, there before it is.
#[derive(Debug, Clone)]
pub struct LeaseMetrics(Arc<OnceLock<Holder>>);

impl LeaseMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let place = Arc::new(OnceLock::<Holder>::new());
        let read = |read: fn(&Holder) -> u64| {
            let holder = place.clone();
            move || holder.get().map_or(0, read)
        };
        let live = read(|holder| u64::from(holder.gate().is_open()));
        registry.read_gauge(&LIVE, move || if live() == 1 { 1.0 } else { 0.0 });
        registry.read_counter(&LAPSES, read(|holder| holder.gate().lapses()));
        registry.read_counter(&ENROLMENTS, read(Holder::enrolments));
        registry.read_counter(&TRUST_EPOCHS, read(|holder| *holder.epoch_changed().borrow()));
        Self(place)
    }

    /// From now on they are those of `holder`.
    pub fn of(&self, holder: &Holder) {
        // A second holder would be a defect, and is not told of.
        drop(self.0.set(holder.clone()));
    }
}
