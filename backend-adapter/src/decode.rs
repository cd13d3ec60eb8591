//! Cuts a model server's answer into frames. Pure: bytes in, frames out, nothing awaited.
//!
//! Both decoders take a cursor on the bytes that came last and give the next whole frame, so that
//! a frame inside one network read is a slice of it and never copied. What they hold between
//! reads is bounded by the frame limit.

pub(crate) mod ndjson;
pub(crate) mod sse;

use bytes::{Buf, Bytes, BytesMut};

/// Largest frame, in bytes, unless the configuration names another.
pub(crate) const MAX_FRAME: usize = 1 << 20;

/// Why the bytes of a model server are not frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A frame is longer than the limit.
    #[error("a frame is longer than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// A frame is not UTF-8.
    #[error("a frame is not UTF-8")]
    NotUtf8,
}

/// Cuts bytes into lines that end with LF or CRLF.
#[derive(Debug)]
struct Lines {
    limit: usize,
    /// The beginning of a line whose end has not come yet.
    held: BytesMut,
}

impl Lines {
    fn new(limit: usize) -> Self {
        Self { limit, held: BytesMut::new() }
    }

    /// The next line without its end, or `None` once `input` is used up.
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let piece = input.split_to(end.unwrap_or(input.len()));
        // One byte more than the limit is the CR of a CRLF.
        if self.held.len() + piece.len() > self.limit + 1 {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        if end.is_none() {
            self.held.extend_from_slice(&piece);
            return Ok(None);
        }
        input.advance(1);
        let line = self.join(piece);
        self.trimmed(line).map(Some)
    }

    /// What is left when the input has ended: a line without an end.
    fn rest(&mut self) -> Result<Bytes, FrameError> {
        let line = self.join(Bytes::new());
        self.trimmed(line)
    }

    fn join(&mut self, piece: Bytes) -> Bytes {
        if self.held.is_empty() {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        // A new buffer rather than `split`: what a long line grew is given back.
        std::mem::take(&mut self.held).freeze()
    }

    fn trimmed(&self, mut line: Bytes) -> Result<Bytes, FrameError> {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        std::str::from_utf8(&line).map_err(|_| FrameError::NotUtf8)?;
        Ok(line)
    }
}

#[cfg(test)]
mod tests;
