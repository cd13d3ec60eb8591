//! Cube's gRPC interfaces: messages, clients and servers generated from the
//! `.proto` files beside this crate, who may call what ([`access`]), and the stable
//! reasons of every refusal.
//!
//! The generated code is committed; `cargo xtask codegen` renews it and
//! `cargo xtask ci` fails where it is out of step.

pub mod access;
mod codec;
mod descriptors;
pub mod reason;
pub mod spec;
mod status;

pub use descriptors::{CUBE_DESCRIPTOR_SET, ERROR_DETAILS, FILE_DESCRIPTOR_SET, FILES, method_paths};
pub use status::{reason_of, reason_or_code, status, status_with};

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    missing_debug_implementations,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
mod generated {
    pub mod inference {
        pub mod v1 {
            include!("generated/cube.inference.v1.rs");
        }
    }
    pub mod backend {
        pub mod v1 {
            include!("generated/cube.backend.v1.rs");
        }
    }
    pub mod attestation {
        pub mod v1 {
            include!("generated/cube.attestation.v1.rs");
        }
    }
    pub mod envoy {
        pub mod auth {
            include!("generated/envoy.service.auth.v3.rs");
        }
        pub mod secret {
            include!("generated/envoy.service.secret.v3.rs");
        }
    }
}

pub use generated::{attestation, backend, envoy, inference};
