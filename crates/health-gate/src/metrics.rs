//! The lease as operators see it.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
};

use service_runtime::{Metric, Registry};

use crate::holder::{Holder, Shared};

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

/// The metrics of a holder, there before it is. They do not keep its lease.
#[derive(Clone)]
pub struct LeaseMetrics(Arc<OnceLock<Weak<Shared>>>);

impl LeaseMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let place = Arc::new(OnceLock::<Weak<Shared>>::new());
        let read = |read: fn(&Shared) -> u64| {
            let holder = place.clone();
            move || holder.get().and_then(Weak::upgrade).map_or(0, |shared| read(&shared))
        };
        let live = read(|holder| u64::from(holder.gate.is_open()));
        registry.read_gauge(&LIVE, move || if live() == 1 { 1.0 } else { 0.0 });
        registry.read_counter(&LAPSES, read(|holder| holder.gate.lapses()));
        registry.read_counter(&ENROLMENTS, read(|holder| holder.enrolments.load(Ordering::Relaxed)));
        registry.read_counter(&TRUST_EPOCHS, read(|holder| *holder.epoch.borrow()));
        Self(place)
    }

    /// From now on they are those of `holder`.
    pub fn of(&self, holder: &Holder) {
        // A second holder would be a defect, and is not told of.
        drop(self.0.set(holder.watched()));
    }
}

impl fmt::Debug for LeaseMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseMetrics")
    }
}
