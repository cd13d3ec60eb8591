// Made by `cargo xtask codegen`, which needs this crate to compile: where a .proto file is gone, take
// its line out by hand first.
[
    ("cube/attestation/v1/admin.proto", include_str!("../../cube/attestation/v1/admin.proto")),
    ("cube/attestation/v1/attestation.proto", include_str!("../../cube/attestation/v1/attestation.proto")),
    ("cube/attestation/v1/identity.proto", include_str!("../../cube/attestation/v1/identity.proto")),
    ("cube/inference/v1/chat.proto", include_str!("../../cube/inference/v1/chat.proto")),
    ("cube/inference/v1/inference.proto", include_str!("../../cube/inference/v1/inference.proto")),
    ("cube/backend/v1/backend.proto", include_str!("../../cube/backend/v1/backend.proto")),
]
