//! Why a command ended without doing its work.

use std::{io, path::Path};

use attested_client::Error as ClientError;

use crate::exit::Exit;

/// Everything but a verdict; verdicts carry their own exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A flag or a file of the user's is unusable.
    #[error("{0}")]
    Usage(String),
    /// No evidence was had from the server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The verified gateway did not answer as it should.
    #[error("{0}")]
    Answer(String),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// A file of the user's that cannot be read or written.
    pub(crate) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Usage(format!("cannot {what} {}: {error}", path.display()))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => Exit::Usage as u8,
            Self::Client(error) => crate::verdict::of_client_error(error).exit_code(),
            Self::Answer(_) | Self::Output(_) => Exit::Failed as u8,
        }
    }
}
