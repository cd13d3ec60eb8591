//! What can go wrong before a channel exists, by what the caller should do.

use snp_evidence::Refusal;

/// Why there is no [`AttestedChannel`](crate::AttestedChannel).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No TLS 1.3 connection within the limit. Retry, or try another address.
    #[error("cannot reach {target}: {cause}")]
    Unreachable {
        /// Host and port.
        target: String,
        /// The step that failed, and how.
        cause: String,
    },
    /// The server answered, but with no evidence. Retry later, or ask another server.
    #[error("{target} gave no evidence: {cause}")]
    NoEvidence {
        /// Host and port.
        target: String,
        /// What it answered instead.
        cause: String,
    },
    /// The server's certificate does not come from the given CA. Do not retry: ask who runs the server.
    #[error("the certificate of {target} was refused: {cause}")]
    Certificate {
        /// Host and port.
        target: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The answer breaks the evidence protocol. Do not retry: this is no Cube gateway, or a hostile one.
    #[error("{target} broke the evidence protocol: {cause}")]
    Protocol {
        /// Host and port.
        target: String,
        /// The rule that was broken.
        cause: String,
    },
    /// The evidence was judged and refused. Do not send anything there.
    #[error(transparent)]
    NotTrusted(#[from] Refusal),
    /// The system gave no random bytes for a nonce.
    #[error("no random bytes from the system")]
    Random,
}
