//! An answer as server-sent events.

use axum::body::Body;
use bytes::Bytes;
use tonic::Status;

use super::answer::{Chunks, DONE};
use crate::{
    chat::Answer,
    dialect::Dialect,
    streamed::{self, Pieces},
};

/// The body of a streamed answer. Complete, it ends with `[DONE]`.
pub(super) fn body(answer: Answer, chunks: Chunks) -> Body {
    streamed::body(Frames { answer: Some(answer), chunks }, Dialect::OpenAi)
}

struct Frames {
    /// None once the end marker is told.
    answer: Option<Answer>,
    chunks: Chunks,
}

impl Pieces for Frames {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(answer) = &mut self.answer else { return Ok(None) };
        while let Some(event) = answer.next().await? {
            if let Some(frame) = self.chunks.frame(event) {
                return Ok(Some(frame));
            }
        }
        self.answer = None;
        Ok(Some(DONE))
    }
}
