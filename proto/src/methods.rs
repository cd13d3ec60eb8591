//! The paths of every method that Cube serves.

/// Paths of all methods, such as `/grpc.health.v1.Health/Check`.
pub fn methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().copied()
}

const METHODS: &[&str] = &[
    "/cube.attestation.v1.AdminService/GetState",
    "/cube.attestation.v1.AdminService/Reinstate",
    "/cube.attestation.v1.AdminService/Revoke",
    "/cube.attestation.v1.AdminService/Rotate",
    "/cube.attestation.v1.AttestationService/GetEvidence",
    "/cube.attestation.v1.AttestationService/GetKeyManifest",
    "/cube.attestation.v1.EvidenceService/CollectEvidence",
    "/cube.attestation.v1.EvidenceService/CollectKeyManifest",
    "/cube.attestation.v1.HealthService/Lease",
    "/cube.attestation.v1.IdentityService/Enroll",
    "/cube.attestation.v1.IdentityService/WatchBundle",
    "/cube.backend.v1.BackendService/Attach",
    "/cube.backend.v1.BackendService/Generate",
    "/cube.backend.v1.BackendService/ListModels",
    "/cube.inference.v1.InferenceService/Chat",
    "/cube.inference.v1.InferenceService/StreamChat",
    "/cube.inference.v1.ModelService/ListModels",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];
