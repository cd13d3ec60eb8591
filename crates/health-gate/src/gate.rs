//! The gate: whether this process may serve right now.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use proto::reason;
use service_runtime::Clock;
use tokio::sync::watch;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Code, Status};
use tracing::{info, warn};

use crate::term::Term;

/// Whether this process may serve; a cheap handle. It starts shut, and only a lease opens it.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    term: ArcSwap<Term>,
    open: watch::Sender<bool>,
    lapses: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Gate {
    pub(crate) fn shut(clock: Arc<dyn Clock>) -> Self {
        let term = ArcSwap::new(Term::none(clock.clone()));
        Self {
            shared: Arc::new(Shared {
                term,
                open: watch::Sender::new(false),
                lapses: AtomicU64::new(0),
                clock,
            }),
        }
    }

    /// Leave to serve for as long as the present lease is not interrupted.
    pub fn permit(&self) -> Result<ServingPermit, Lapsed> {
        let permit = ServingPermit { term: self.shared.term.load_full() };
        permit.check().map(|()| permit)
    }

    /// Whether [`Self::permit`] would be given now.
    pub fn is_open(&self) -> bool {
        self.shared.term.load().is_live()
    }

    /// Resolves when the gate shuts; at once where it is shut.
    pub async fn lapsed(&self) {
        let over = self.shared.term.load().over();
        over.await;
    }

    /// Whether the gate is open, and every change of it (health services report this).
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.shared.open.subscribe()
    }

    /// How often it has shut because the lease had come to its end.
    pub(crate) fn lapses(&self) -> u64 {
        self.shared.lapses.load(Ordering::Relaxed)
    }

    /// Opens, or stays open, until `deadline` on the boot clock; shuts where that has come. After a
    /// lapse this starts a new lease: permits of the old one stay void.
    pub(crate) fn open_until(&self, deadline: Duration) {
        self.note_lapse();
        if deadline <= self.shared.clock.boot() {
            return self.close();
        }
        if !self.shared.term.load().set_deadline(deadline) {
            self.shared.term.store(Term::until(deadline, self.shared.clock.clone()));
            self.shared.open.send_replace(true);
            info!("the health lease is live");
        }
    }

    /// Shuts at once; every permit given so far is void for ever.
    pub(crate) fn close(&self) {
        self.shared.term.load().end();
        self.shared.open.send_replace(false);
    }

    /// Notices lapses for those who wait, and says so to [`Self::watch`]. Runs for ever.
    pub(crate) async fn guard(self) {
        let mut open = self.shared.open.subscribe();
        loop {
            self.shared.term.load_full().watch().await;
            self.note_lapse();
            if !self.is_open() && open.wait_for(|open| *open).await.is_err() {
                return;
            }
        }
    }

    /// Counts and tells a lapse once, whoever sees it first: after a jump of the clock that may be an
    /// answer that opens the gate anew.
    fn note_lapse(&self) {
        self.shared.open.send_if_modified(|open| {
            let lapsed = *open && !self.is_open();
            *open &= !lapsed;
            if lapsed {
                self.shared.lapses.fetch_add(1, Ordering::Relaxed);
                warn!("the health lease has lapsed; nothing is served");
            }
            lapsed
        });
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("open", &self.is_open()).finish()
    }
}

/// Leave to serve one request, under one uninterrupted lease. Only [`Gate::permit`] makes it.
#[derive(Clone, Debug)]
pub struct ServingPermit {
    term: Arc<Term>,
}

impl ServingPermit {
    /// Whether the lease lives: one atomic load and one reading of CLOCK_BOOTTIME, no lock, no allocation.
    pub fn check(&self) -> Result<(), Lapsed> {
        if self.term.is_live() { Ok(()) } else { Err(Lapsed) }
    }

    /// Resolves when the lease is over.
    pub async fn lapsed(&self) {
        self.term.over().await;
    }

    pub(crate) fn lapse(&self) -> WaitForCancellationFutureOwned {
        self.term.over()
    }
}

/// The lease is not live: nothing may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MESSAGE}")]
pub struct Lapsed;

const MESSAGE: &str = "the health lease of this service is not live; retry elsewhere or later";

impl From<Lapsed> for Status {
    fn from(_: Lapsed) -> Self {
        proto::status(Code::Unavailable, reason::ATTESTATION_LAPSED, MESSAGE)
    }
}

#[cfg(test)]
mod tests;
