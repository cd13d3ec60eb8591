//! How long a connection lives: idle time, age, recycling, drain.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

/// Requests in flight on one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    in_flight: AtomicUsize,
    changed: Notify,
}

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        InFlight(self.clone())
    }

    /// Resolves once nothing has been in flight for `limit`.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.in_flight.load(Ordering::Acquire) == 0;
            tokio::select! {
                () = tokio::time::sleep(limit), if idle => return,
                () = self.changed.notified() => {}
            }
        }
    }
}

/// One request in flight, until its answer's last byte is gone or given up.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// An answer's body that keeps its request in flight.
#[derive(Debug)]
pub(crate) struct TrackedBody {
    pub(crate) body: axum::body::Body,
    pub(crate) _in_flight: InFlight,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Resolves when a connection should take no new requests: too old, idle for too
/// long, or told to go. Open streams are not cut by any of these.
pub(crate) async fn end_of_life(
    age: Duration,
    idle: Duration,
    activity: &Activity,
    mut recycle: watch::Receiver<u64>,
) {
    // What happened before this connection does not concern it.
    recycle.mark_unchanged();
    let recycled = async {
        // A recycler that is gone never recycles.
        if recycle.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = sleep_until(Instant::now() + age) => {}
        () = activity.idle_for(idle) => {}
        () = recycled => {}
    }
}

/// `age` ± 10 %, so that connections made together do not leave together.
pub(crate) fn jittered(age: Duration, connection: u64) -> Duration {
    // Any spread will do; this one needs no random numbers.
    let per_mille = connection.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 201;
    age / 1000 * (900 + u32::try_from(per_mille).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_request_in_flight_is_not_idle() {
        let activity = Arc::new(Activity::default());
        let request = activity.begin();
        let limit = Duration::from_mins(5);
        assert!(tokio::time::timeout(limit * 10, activity.idle_for(limit)).await.is_err());
        drop(request);
        let start = Instant::now();
        activity.idle_for(limit).await;
        assert_eq!(start.elapsed().as_secs(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_made_after_a_recycling_stays() {
        let (recycle, recycled) = watch::channel(0);
        recycle.send(1).unwrap();
        let (age, activity) = (Duration::from_mins(30), Activity::default());
        let start = Instant::now();
        end_of_life(age, age * 2, &activity, recycled).await;
        assert_eq!(start.elapsed(), age);
    }

    #[test]
    fn age_varies_by_a_tenth_at_most() {
        let age = Duration::from_mins(30);
        let ages: Vec<_> = (0..1000).map(|id| jittered(age, id)).collect();
        assert!(ages.iter().all(|one| (age * 9 / 10..=age * 11 / 10).contains(one)));
        assert!(ages.iter().max() > ages.iter().min());
    }
}
