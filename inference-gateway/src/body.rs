//! Bounds on the body of a request: how large, how long in coming, and how much of
//! all bodies together.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body as AxumBody,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use proto::reason;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::{Code, Status};

/// A request body within its bounds; past them it ends with a [`Status`].
pub(crate) struct Bounded {
    inner: AxumBody,
    room: usize,
    over: Pin<Box<Sleep>>,
    limit: Duration,
    share: Arc<Share>,
}

/// Bounds on every body that goes through one layer.
#[derive(Clone)]
pub(crate) struct Bounds {
    bytes: usize,
    time: Duration,
    all: Arc<Semaphore>,
}

impl Bounds {
    /// Each body up to `bytes`, all there within `time`; all of them together up to `all` bytes.
    pub(crate) fn new(bytes: usize, time: Duration, all: usize) -> Self {
        Self { bytes, time, all: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))) }
    }
}

/// Bounds the body of `request`. What came of it counts until the answer has a head:
/// by then the request is decoded and passed on, or refused, or given up.
pub(crate) async fn bounded(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let share = Arc::new(Share { all: bounds.all, held: Mutex::default() });
    let (room, limit) = (bounds.bytes, bounds.time);
    let over = Box::pin(tokio::time::sleep(limit));
    let bounded = |inner| AxumBody::new(Bounded { inner, room, over, limit, share: share.clone() });
    let response = next.run(request.map(bounded)).await;
    share.give_back();
    response
}

/// What one body takes of the bytes of all.
struct Share {
    all: Arc<Semaphore>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Share {
    fn take(&self, bytes: usize) -> Result<(), Status> {
        let bytes = u32::try_from(bytes).map_err(|_| overloaded())?;
        let more = self.all.clone().try_acquire_many_owned(bytes).map_err(|_| overloaded())?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    fn give_back(&self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.take(frame))),
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => self.over.as_mut().poll(cx).map(|()| Some(Err(slow(self.limit).into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Bounded {
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, axum::BoxError> {
        let size = frame.data_ref().map_or(0, Buf::remaining);
        self.room = self.room.checked_sub(size).ok_or_else(too_large)?;
        self.share.take(size)?;
        Ok(frame)
    }
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("room", &self.room).finish_non_exhaustive()
    }
}

/// The body is larger than the limit.
pub(crate) fn too_large() -> Status {
    let message = "the request body is larger than this gateway takes";
    proto::status(Code::ResourceExhausted, reason::REQUEST_TOO_LARGE, message)
}

fn overloaded() -> Status {
    let message = "the gateway holds as many bytes of requests as it may; retry";
    proto::status(Code::ResourceExhausted, reason::OVERLOADED, message)
}

fn slow(limit: Duration) -> Status {
    let message = format!("the request body did not come within {} s", limit.as_secs());
    proto::status(Code::DeadlineExceeded, reason::INVALID_REQUEST, message)
}

/// Why a body could not be read to its end: ours where we said so, else the caller broke off.
pub(crate) fn unreadable(error: &(dyn std::error::Error + 'static)) -> Status {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(status) = error.downcast_ref::<Status>() {
            return status.clone();
        }
        cause = error.source();
    }
    proto::status(Code::InvalidArgument, reason::INVALID_REQUEST, "the request body broke off")
}
