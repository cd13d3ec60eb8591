//! Newline-delimited JSON: one value a line, as Ollama streams it.

use bytes::Bytes;

use super::{FrameError, Lines};

/// Incremental decoder of newline-delimited JSON.
#[derive(Debug)]
pub(crate) struct Ndjson {
    lines: Lines,
}

impl Ndjson {
    /// A decoder that refuses lines of more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { lines: Lines::new(limit) }
    }

    /// The next line that is not blank, or `None` once `input` is used up.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        while let Some(line) = self.lines.next(input)? {
            if !is_blank(&line) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// The last line, where the input ended without a line end.
    pub(crate) fn finish(&mut self) -> Result<Option<Bytes>, FrameError> {
        let line = self.lines.rest()?;
        Ok((!is_blank(&line)).then_some(line))
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}
