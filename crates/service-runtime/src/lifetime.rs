//! How long a connection lives: idle time, age, recycling, drain.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::observer::Seen;

/// Requests in flight on one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    in_flight: AtomicUsize,
    changed: Notify,
    /// Answers whose last frame was handed on and whose next was not asked for.
    unread: AtomicUsize,
    polls: AtomicU64,
}

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        InFlight(self.clone())
    }

    /// Resolves once nothing has been in flight for `limit`.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.in_flight.load(Ordering::Acquire) == 0;
            tokio::select! {
                () = tokio::time::sleep(limit), if idle => return,
                () = self.changed.notified() => {}
            }
        }
    }

    /// Resolves once the peer has left answers unread for `limit` (at most twice that) and taken
    /// nothing else meanwhile. Silence of a backend is not that: then the next frame was asked for.
    pub(crate) async fn unread_for(&self, limit: Duration) {
        loop {
            let seen = self.polls.load(Ordering::Acquire);
            tokio::time::sleep(limit).await;
            let unread = self.unread.load(Ordering::Acquire) > 0;
            if unread && seen == self.polls.load(Ordering::Acquire) {
                return;
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

/// An answer's body that keeps its request in flight, and knows whether anybody asks for more of it.
#[derive(Debug)]
pub(crate) struct TrackedBody {
    body: axum::body::Body,
    in_flight: InFlight,
    unread: bool,
    seen: Seen,
}

impl TrackedBody {
    pub(crate) fn new(body: axum::body::Body, in_flight: InFlight, seen: Seen) -> Self {
        Self { body, in_flight, unread: false, seen }
    }

    fn set_unread(&mut self, unread: bool) {
        let count = &self.in_flight.0.unread;
        match (self.unread, unread) {
            (false, true) => _ = count.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = count.fetch_sub(1, Ordering::AcqRel),
            (false, false) | (true, true) => {}
        }
        self.unread = unread;
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.set_unread(false);
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.in_flight.0.polls.fetch_add(1, Ordering::AcqRel);
        let span = self.seen.span().clone();
        let polled = span.in_scope(|| Pin::new(&mut self.body).poll_frame(cx));
        if let Poll::Ready(frame) = &polled {
            self.seen.frame(frame.as_ref());
            if self.body.is_end_stream() {
                self.seen.ended();
            }
        }
        self.set_unread(matches!(polled, Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Resolves when the peer of an HTTP/1.1 connection has closed it, even while bytes that it sent
/// before lie unread: hyper reads on only once its answer is whole.
pub(crate) async fn departure(socket: Option<TcpStream>) {
    let Some(socket) = socket else { return std::future::pending().await };
    while let Ok(event) = socket.ready(Interest::READABLE).await {
        if event.is_read_closed() {
            return;
        }
        // Nothing is read here; this only forgets the event, so that the next one is waited for.
        let forget = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        drop(socket.try_io(Interest::READABLE, forget));
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
    use futures_util::StreamExt;

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
    async fn an_answer_that_nobody_reads_is_noticed_and_a_silent_backend_is_not() {
        use http_body_util::BodyExt;
        let (activity, limit) = (Arc::new(Activity::default()), Duration::from_mins(1));
        let frames =
            futures_util::stream::iter([Ok::<_, io::Error>("one")]).chain(futures_util::stream::pending());
        let seen = crate::observer::Observer::default().seen(&http::Request::new(()));
        let mut body = TrackedBody::new(axum::body::Body::from_stream(frames), activity.begin(), seen);
        body.frame().await.unwrap().unwrap();
        activity.unread_for(limit).await;
        let silent = tokio::time::timeout(limit * 5, body.frame()).await;
        assert!(silent.is_err(), "the backend is silent");
        assert!(tokio::time::timeout(limit * 5, activity.unread_for(limit)).await.is_err());
    }

    #[test]
    fn age_varies_by_a_tenth_at_most() {
        let age = Duration::from_mins(30);
        let ages: Vec<_> = (0..1000).map(|id| jittered(age, id)).collect();
        assert!(ages.iter().all(|one| (age * 9 / 10..=age * 11 / 10).contains(one)));
        assert!(ages.iter().max() > ages.iter().min());
    }
}
