//! Stable reasons: `google.rpc.ErrorInfo.reason`, and `code` in the HTTP
//! dialects' error bodies.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])* pub const $name: &str = stringify!($name);)*

        /// Every reason, for documents and tests.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

/// The reason that `text` is, if it is one.
pub fn known(text: &str) -> Option<&'static str> {
    ALL.iter().copied().find(|reason| *reason == text)
}

reasons! {
    /// The health lease is not live: the CVM's evidence is not vouched for right now. Retry elsewhere.
    ATTESTATION_LAPSED;
    /// The connection between gateway and adapter has not exchanged live health tokens.
    PEER_NOT_ATTACHED;
    /// The peer's health token was refused; the message names the check.
    PEER_TOKEN_REFUSED;
    /// The caller's SVID may not call this method.
    PEER_NOT_ALLOWED;
    /// The identity already has a live holder.
    IDENTITY_IN_USE;
    /// The process at the other end of the enrolment socket has the wrong uid.
    ENROLMENT_WRONG_UID;
    /// The certificate signing request cannot be used.
    CSR_INVALID;
    /// The call needs `Enroll` first on the same connection.
    NOT_ENROLLED;
    /// The nonce is not 32 bytes (unpadded base64url over HTTP).
    NONCE_INVALID;
    /// The binding is unknown, or cannot be had on this connection.
    BINDING_UNSUPPORTED;
    /// The leaf key is not one of the caller's in the key manifest.
    LISTENER_KEY_UNKNOWN;
    /// The evidence device did not answer in time or refused; retry.
    EVIDENCE_UNAVAILABLE;
    /// A field of the request is missing, malformed or out of range; the message names it.
    INVALID_REQUEST;
    /// A parameter that Cube does not know; the message names it.
    UNKNOWN_PARAMETER;
    /// The backend cannot do what was asked; the message names it.
    UNSUPPORTED_BY_BACKEND;
    /// No such path or method here.
    UNKNOWN_METHOD;
    /// The body is larger than the limit.
    REQUEST_TOO_LARGE;
    /// The model is not on this backend.
    MODEL_NOT_FOUND;
    /// The model server cannot be reached.
    BACKEND_UNAVAILABLE;
    /// The model server refused the request.
    BACKEND_REFUSED;
    /// The model server failed while it worked on the request.
    BACKEND_FAILED;
    /// The model server sent what its protocol does not allow.
    BACKEND_PROTOCOL;
    /// The model server's answer ended without its end marker.
    BACKEND_TRUNCATED;
    /// The model server was silent for longer than the limit; `phase` says which.
    BACKEND_TIMEOUT;
    /// The model server is at its limit; retry.
    BACKEND_OVERLOADED;
    /// The adapter cannot be reached.
    ADAPTER_UNAVAILABLE;
    /// The service is at its limit of connections or streams.
    OVERLOADED;
    /// A defect in Cube; please report it.
    INTERNAL;
}
