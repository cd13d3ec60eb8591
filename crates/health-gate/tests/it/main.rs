//! The gate with real sockets and handshakes, against a small attestation-svc that can be told to lie.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a test that fails")]

mod attach;
mod fake;
mod lease;
mod refused;
mod revoked;
mod streams;
mod world;
