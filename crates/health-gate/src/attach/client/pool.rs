//! Which connection a call takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::select_all;
use http::{Request, Response};
use proto::reason;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};
use tokio_util::sync::DropGuard;
use tonic::{Code, Status, body::Body};

use super::{Link, Slot, broken, unavailable};
use crate::body::{Dialect, GatedBody, Leave, Over};

/// How long a request waits for a connection, and for a place on it.
const WAIT: Duration = Duration::from_secs(2);

/// Connections that calls take by turns while they have places.
const BY_TURNS: usize = 2;

/// The connections to one peer.
pub(super) struct Pool {
    slots: Vec<Arc<Slot>>,
    next: AtomicUsize,
    /// Why there is no connection, where there is none; changes whenever a slot does.
    state: watch::Receiver<Option<Status>>,
    _alive: DropGuard,
}

impl Pool {
    pub(super) fn new(
        slots: Vec<Arc<Slot>>,
        state: watch::Receiver<Option<Status>>,
        alive: DropGuard,
    ) -> Self {
        Self { slots, next: AtomicUsize::new(0), state, _alive: alive }
    }

    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        // A connection may go while the request is on its way to it; then another one takes it.
        for _ in 0..=self.slots.len() {
            let mut seat = self.seat().await?;
            let Link { connection, permit, .. } = &mut seat.link;
            let answer = tokio::select! {
                answer = connection.try_send(request) => answer,
                () = permit.lapsed() => return Err(permit.check().err().unwrap_or_else(unavailable)),
            };
            match answer {
                Ok(answer) => {
                    permit.check()?;
                    return Ok(answer.map(|body| Body::new(GatedBody::new(body, seat, Dialect::Grpc))));
                }
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(failed.into_error())),
                },
            }
        }
        Err(unavailable())
    }

    async fn seat(&self) -> Result<Seat, Status> {
        let mut state = self.state.clone();
        let found = async {
            loop {
                state.mark_unchanged();
                tokio::select! {
                    Some(seat) = first_seat(self.live()) => return seat,
                    Ok(()) = state.changed() => {}
                    else => std::future::pending::<()>().await,
                }
            }
        };
        timeout(WAIT, found).await.map_err(|_| self.why_not())
    }

    fn why_not(&self) -> Status {
        if !self.live().is_empty() {
            return overloaded();
        }
        self.state.borrow().clone().unwrap_or_else(unavailable)
    }

    /// The live connections, in the order in which they are filled: the first few by turns, as frames that share a
    /// connection share system calls.
    pub(super) fn live(&self) -> Vec<Link> {
        let (by_turns, others) = self.slots.split_at(BY_TURNS.min(self.slots.len()));
        let first = self.next.fetch_add(1, Ordering::Relaxed) % by_turns.len().max(1);
        let (before, after) = by_turns.split_at(first);
        after.iter().chain(before).chain(others).filter_map(|slot| slot.live()).collect()
    }
}

/// A place on whichever of `links` has one first; `None` where there is none, or where it is void.
async fn first_seat(links: Vec<Link>) -> Option<Seat> {
    let mut seats = links.into_iter().map(|link| Box::pin(link.seat())).peekable();
    seats.peek()?;
    select_all(seats).await.0
}

/// A call's place on a connection, until its answer has ended.
struct Seat {
    link: Link,
    _place: OwnedSemaphorePermit,
}

impl Link {
    /// Waits for a place. Its bound is the caller's.
    async fn seat(self) -> Option<Seat> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        self.is_usable().then_some(Seat { link: self, _place: place })
    }
}

/// A response's leave: its connection's, which it keeps open.
impl Leave for Seat {
    fn check(&self) -> Result<(), Status> {
        self.link.permit.check()
    }

    fn over(&self) -> Over {
        self.link.permit.over()
    }
}

fn overloaded() -> Status {
    let message = "every connection to the adapter carries as many calls as it may; retry";
    proto::status(Code::Unavailable, reason::OVERLOADED, message)
}
