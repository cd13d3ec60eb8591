//! An answer as server-sent events.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use health_gate::FLUSH;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::{
    answer::{Chunks, DONE},
    error::ApiError,
};
use crate::chat::Answer;

/// The body of a streamed answer. Complete, it ends with `[DONE]`. Where the answer
/// fails, an error object is the last frame and then the body breaks off, so that a
/// client which looks at neither still cannot take it for complete.
pub(super) fn body(answer: Answer, chunks: Chunks) -> Body {
    Body::from_stream(stream::unfold(State::Live(Box::new(answer), chunks), next))
}

enum State {
    Live(Box<Answer>, Chunks),
    Failed(Status, Instant),
    Over,
}

type Frame = (Result<Bytes, Status>, State);

async fn next(state: State) -> Option<Frame> {
    match state {
        State::Live(answer, chunks) => live(answer, chunks).await,
        State::Failed(status, flushed) => {
            sleep_until(flushed).await;
            Some((Err(status), State::Over))
        }
        State::Over => None,
    }
}

async fn live(mut answer: Box<Answer>, mut chunks: Chunks) -> Option<Frame> {
    loop {
        match answer.next().await {
            Ok(Some(event)) => {
                if let Some(frame) = chunks.frame(event) {
                    return Some((Ok(frame), State::Live(answer, chunks)));
                }
            }
            Ok(None) => return Some((Ok(DONE), State::Over)),
            Err(status) => return Some(failed(status)),
        }
    }
}

fn failed(status: Status) -> Frame {
    let error = ApiError::from(status.clone()).body();
    let frame = [b"data: ", error.as_slice(), b"\n\n"].concat();
    (Ok(frame.into()), State::Failed(status, Instant::now() + FLUSH))
}
