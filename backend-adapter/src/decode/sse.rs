//! Server-sent events, as OpenAI's interface streams them (WHATWG HTML, section 9.2).
//!
//! Only `data` matters to the model servers' interface: comments are keep-alives, and `event`,
//! `id` and `retry` are read over. Lines end with LF or CRLF; a lone CR, which the standard also
//! allows, is sent by no model server.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FrameError, Lines};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Incremental decoder of server-sent events.
#[derive(Debug)]
pub(crate) struct Sse {
    lines: Lines,
    at_start: bool,
    /// The data of the event whose blank line has not come yet.
    data: Option<Bytes>,
}

impl Sse {
    /// A decoder that refuses lines and events of more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { lines: Lines::new(limit), at_start: true, data: None }
    }

    /// The data of the next event, or `None` once `input` is used up.
    ///
    /// An event counts once its blank line has come; what is left at the end of the input is
    /// the standard's to throw away, and no event.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        while let Some(mut line) = self.lines.next(input)? {
            if std::mem::take(&mut self.at_start) && line.starts_with(BYTE_ORDER_MARK) {
                line = line.slice(BYTE_ORDER_MARK.len()..);
            }
            if !line.is_empty() {
                self.field(&line)?;
            } else if let Some(data) = self.data.take() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn field(&mut self, line: &Bytes) -> Result<(), FrameError> {
        let value = match line.strip_prefix(b"data:") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if line.as_ref() == b"data" => &[],
            None => return Ok(()),
        };
        let value = line.slice_ref(value);
        self.data = Some(match self.data.take() {
            None => value,
            Some(before) => self.joined(before, &value)?,
        });
        Ok(())
    }

    fn joined(&self, before: Bytes, value: &[u8]) -> Result<Bytes, FrameError> {
        if before.len() + 1 + value.len() > self.lines.limit {
            return Err(FrameError::TooLarge { limit: self.lines.limit });
        }
        // From the third line on the buffer is this event's own and only grows.
        let mut data = before.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        data.put_u8(b'\n');
        data.put_slice(value);
        Ok(data.freeze())
    }
}
