//! Bounds on the body of a request: how large, and how long in coming.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body as AxumBody;
use bytes::{Buf, Bytes};
use http::Request;
use http_body::{Body, Frame, SizeHint};
use proto::reason;
use tokio::time::Sleep;
use tonic::{Code, Status};

/// A request body within its bounds; past them it ends with a [`Status`].
pub(crate) struct Bounded {
    inner: AxumBody,
    room: usize,
    over: Pin<Box<Sleep>>,
    limit: Duration,
}

/// Bounds the body of `request` to `bytes`, all there within `time`.
pub(crate) fn bounded(request: Request<AxumBody>, bytes: usize, time: Duration) -> Request<AxumBody> {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|inner| {
        AxumBody::new(Bounded { inner, room: bytes, over: Box::pin(tokio::time::sleep(time)), limit: time })
    })
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
