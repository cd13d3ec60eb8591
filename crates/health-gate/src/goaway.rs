//! Notices that the other side sends a connection away.
//!
//! hyper tells of a GOAWAY only to whoever sends the next request, which on an idle connection is
//! nobody; the other side then waits for its drain limit. So the frames' headers are watched.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use service_runtime::CancellationToken;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose incoming HTTP/2 frames are watched for GOAWAY.
#[derive(Debug)]
pub(crate) struct Watched<IO> {
    io: IO,
    frames: Frames,
    told: CancellationToken,
}

impl<IO> Watched<IO> {
    /// `told` is cancelled once the other side says GOAWAY.
    pub(crate) fn new(io: IO, told: CancellationToken) -> Self {
        Self { io, frames: Frames::default(), told }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if self.frames.goaway_in(buffer.filled().get(before..).unwrap_or_default()) {
            self.told.cancel();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Where in the sequence of frames the bytes so far end (RFC 9113 section 4.1).
#[derive(Debug, Default)]
struct Frames {
    /// What is there of the present header: length (24 bits), type, flags, stream.
    header: Vec<u8>,
    /// Bytes of the present payload still to come.
    payload: usize,
}

const HEADER: usize = 9;
const GOAWAY: u8 = 7;

impl Frames {
    fn goaway_in(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            let wanted = if self.payload > 0 { self.payload } else { HEADER - self.header.len() };
            let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            if self.payload > 0 {
                self.payload -= now.len();
                continue;
            }
            self.header.extend_from_slice(now);
            if let [high, middle, low, kind, _, _, _, _, _] = *self.header {
                self.payload = u32::from_be_bytes([0, high, middle, low]) as usize;
                found |= kind == GOAWAY;
                self.header.clear();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn goaway_is_found_however_the_bytes_are_cut() {
        let bytes =
            [frame(4, &[0; 18]), frame(4, &[]), frame(0, &[GOAWAY; 300]), frame(GOAWAY, &[0; 8])].concat();
        let goaway = bytes.len() - 8;
        for size in 1..bytes.len() {
            let (mut frames, mut read) = (Frames::default(), 0);
            for chunk in bytes.chunks(size) {
                let before = read;
                read += chunk.len();
                assert_eq!(frames.goaway_in(chunk), before < goaway && goaway <= read, "{size} {read}");
            }
        }
    }

    #[test]
    fn a_payload_that_looks_like_one_is_none() {
        let payload = frame(GOAWAY, &[0; 8]);
        assert!(!Frames::default().goaway_in(&frame(0, &payload)));
    }
}
