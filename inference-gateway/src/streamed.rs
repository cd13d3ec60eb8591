//! An answer that comes piece by piece, as the body of an HTTP answer.

use std::future::Future;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use health_gate::FLUSH;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::{dialect::Dialect, openai::error::ApiError};

/// Where the pieces come from.
pub(crate) trait Pieces: Send + 'static {
    /// The next piece; `None` after a complete answer only.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Status>> + Send;
}

/// The body of a streamed answer. Where the answer fails, an error in the dialect's form is the last piece and then the
/// body breaks off, so that a client which looks at neither still cannot take it for complete.
pub(crate) fn body(pieces: impl Pieces, dialect: Dialect) -> Body {
    Body::from_stream(stream::unfold(State::Live(Box::new(pieces)), move |state| next(state, dialect)))
}

enum State<P> {
    /// In a box, which each piece moves in and out of the stream.
    Live(Box<P>),
    Failed(Status, Instant),
    Over,
}

async fn next<P: Pieces>(state: State<P>, dialect: Dialect) -> Option<(Result<Bytes, Status>, State<P>)> {
    match state {
        State::Live(mut pieces) => match pieces.next().await {
            Ok(Some(piece)) => Some((Ok(piece), State::Live(pieces))),
            Ok(None) => None,
            Err(status) => {
                let words = dialect.last_words(&ApiError::from(status.clone()));
                Some((Ok(words), State::Failed(status, Instant::now() + FLUSH)))
            }
        },
        State::Failed(status, flushed) => {
            sleep_until(flushed).await;
            Some((Err(status), State::Over))
        }
        State::Over => None,
    }
}
