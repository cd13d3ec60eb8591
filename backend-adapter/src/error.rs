//! What can go wrong between a request and its answer.

use std::fmt;

use crate::decode::FrameError;

/// Why a request has no answer, or its answer no end.
///
/// Nothing here holds text of the model server: it can echo the prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BackendError {
    /// A field of the request is missing, malformed or out of range.
    #[error("{field}: {problem}")]
    InvalidField {
        /// Path of the field in `GenerateRequest`.
        field: String,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// The backend cannot do what a field asks for.
    #[error("{field}: {problem}")]
    Unsupported {
        /// Path of the field in `GenerateRequest`.
        field: String,
        /// What cannot be done.
        problem: &'static str,
    },
    /// No connection, or one that ended before any answer.
    #[error("the model server cannot be reached: {0}")]
    Unreachable(&'static str),
    /// What listens at the model server's address is another user's process.
    #[error("what listens at backend.address is not the model server; nothing was sent to it")]
    Stranger,
    /// The model server knows no model of that name.
    #[error("the model server has no model of that name; ListModels names those it has")]
    ModelNotFound,
    /// The model server has no such endpoint.
    #[error(
        "the model server has no such endpoint, or not for this model; check backend.kind and backend.address if it should"
    )]
    NoEndpoint,
    /// The model server refused the request.
    #[error(
        "the model server refused the request ({0}); its own words are withheld because they can repeat the prompt"
    )]
    Refused(Cause),
    /// The request is longer than the model server accepts.
    #[error("the request is too large for the model server; shorten the conversation")]
    TooLarge,
    /// The model server is at its limit, or still loading.
    #[error("the model server is at its limit or not ready; retry")]
    Overloaded,
    /// The model server failed.
    #[error("the model server failed ({0}); its log says why")]
    Failed(Cause),
    /// The model server broke its own protocol.
    #[error("the model server sent what its protocol does not allow: {0}")]
    Protocol(&'static str),
    /// The model server sent bytes that are no frames.
    #[error("the model server sent what its protocol does not allow: {0}")]
    Frame(#[from] FrameError),
    /// The answer ended without its end marker.
    #[error("the model server's answer ended early: {0}")]
    Truncated(&'static str),
    /// The leave to serve ended: the lease, or the attachment of the caller's connection.
    #[error("the leave to serve this request ended")]
    Lapsed,
    /// The model server was silent for too long.
    #[error("the model server was silent for longer than the limit ({0})")]
    Timeout(Phase),
}

/// How the model server said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By an HTTP status.
    Status(u16),
    /// Inside its answer.
    Answer(&'static str),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Answer(what) => f.write_str(what),
        }
    }
}

/// What was being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first token; loading the model and reading the prompt are part of it.
    FirstToken,
    /// The next frame.
    Idle,
    /// The whole of a short answer.
    Answer,
    /// The whole of an answer that is not streamed.
    Unary,
}

impl Phase {
    /// Stable name, for `ErrorInfo` metadata `phase`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::FirstToken => "first_token",
            Self::Idle => "stream_idle",
            Self::Answer => "answer",
            Self::Unary => "unary",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
