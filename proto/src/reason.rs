//! Stable reasons: `google.rpc.ErrorInfo.reason`, and `code` in the HTTP
//! dialects' error bodies. `docs/errors.md` is this table.

use tonic::Code;

/// What is known of a reason.
#[derive(Debug)]
pub struct Reason {
    /// As it travels.
    pub name: &'static str,
    /// What has happened.
    pub meaning: &'static str,
    /// Who should do what.
    pub mend: &'static str,
    /// Whether the same request may succeed later.
    pub retry: Retry,
    /// Codes of the gRPC statuses that carry it.
    pub codes: &'static [Code],
    /// HTTP statuses of the answers that carry it; none where it stays inside the CVM.
    pub http: &'static [u16],
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It fails again until something is changed.
    No,
    /// It may; with backoff, or elsewhere.
    Later,
}

impl Reason {
    /// The reason with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|reason| reason.name == name)
    }
}

macro_rules! reasons {
    ($(
        $(#[doc = $meaning:literal])+
        $name:ident: $retry:ident, grpc [$($code:ident),*], http [$($http:literal),*], $mend:literal;
    )*) => {
        $($(#[doc = $meaning])+ pub const $name: &str = stringify!($name);)*

        /// Every reason, for documents and tests.
        pub const ALL: &[Reason] = &[$(Reason {
            name: $name,
            meaning: concat!($($meaning),+).trim_ascii(),
            mend: $mend,
            retry: Retry::$retry,
            codes: &[$(Code::$code),*],
            http: &[$($http),*],
        }),*];
    };
}

reasons! {
    /// The service holds no live health lease: nobody vouches for this CVM at the moment, and nothing is served.
    ATTESTATION_LAPSED: Later, grpc [Unavailable], http [503],
        "Callers try another replica, or this one with backoff. Operators look whether attestation-svc runs, and into \
         its log; the lease comes back by itself.";
    /// Gateway and adapter have not exchanged live health tokens on their connection.
    PEER_NOT_ATTACHED: Later, grpc [Unavailable], http [503],
        "Callers retry. Where it lasts, operators look into the logs of gateway and adapter for the one without a lease.";
    /// Gateway or adapter refused the other's health token; the metadata `check` names the check.
    PEER_TOKEN_REFUSED: Later, grpc [Unavailable], http [503],
        "Callers retry. Where it lasts, operators give both services the same measured configuration, and restart \
         attestation-svc if the wall clock was set back.";
    /// The SVID of the caller may not call this method.
    PEER_NOT_ALLOWED: No, grpc [PermissionDenied], http [403],
        "Callers use the gateway's public port: the other ports are for Cube's own services. Operators check \
         `attestation_svc` and `adapter` in the gateway's configuration.";
    /// The identity has a live holder: another process of that service is enrolled.
    IDENTITY_IN_USE: Later, grpc [AlreadyExists], http [],
        "Operators stop the other process. The service itself goes on trying, at its start for \
         `start_timeout_seconds`.";
    /// The process at the other end of the enrolment socket does not run as the identity's user.
    ENROLMENT_WRONG_UID: No, grpc [PermissionDenied], http [],
        "Operators run the service as the user that the measured configuration names in `identity.<role>.uid`.";
    /// The process at the other end of the enrolment socket does not belong to the identity's systemd unit.
    ENROLMENT_WRONG_UNIT: No, grpc [PermissionDenied], http [],
        "Operators start the service by the unit that the measured configuration names in `identity.<role>.unit`. The \
         kernel tells units from Linux 6.5 on, in the unified cgroup hierarchy.";
    /// The service runs by another measured configuration than attestation-svc.
    ENROLMENT_WRONG_CONFIG: No, grpc [FailedPrecondition], http [],
        "Operators give all services the same measured configuration, the one whose digest is HOST_DATA.";
    /// An administrator has revoked the identity.
    IDENTITY_REVOKED: Later, grpc [PermissionDenied], http [],
        "Operators find out why, and give the identity back with `cube admin reinstate`, or restart attestation-svc.";
    /// The process at the other end of `admin.sock` is neither root's nor of attestation-svc's own user.
    ADMIN_WRONG_UID: No, grpc [PermissionDenied], http [],
        "Operators run `cube admin` as root or as attestation-svc's user.";
    /// The certificate signing request is no PKCS #10 of at most 4,096 bytes that a P-256 key signed for itself.
    CSR_INVALID: No, grpc [InvalidArgument], http [],
        "Whoever wrote the enrolling program makes the request as docs/spec/enrolment.md has it.";
    /// The call needs `Enroll` first, on the same connection.
    NOT_ENROLLED: No, grpc [FailedPrecondition], http [],
        "Whoever wrote the enrolling program calls `Enroll` before `Lease` and `WatchBundle`.";
    /// attestation-svc cannot write its audit log, and grants nothing unrecorded.
    AUDIT_UNAVAILABLE: Later, grpc [Unavailable], http [],
        "Operators make room on the disk of `audit.dir`, and find the cause in attestation-svc's log. A service whose \
         token is refused has 15 s left.";
    /// This machine was judged anew and refused: nothing is vouched for, and tokens from before are void.
    EVIDENCE_REFUSED: Later, grpc [Unavailable], http [],
        "Operators find the failed check in attestation-svc's log and audit log, and mend the machine; the next verdict, \
         within a minute, opens again.";
    /// This machine could not be judged anew for 15 minutes: nothing is vouched for, and tokens from before are void.
    EVIDENCE_STALE: Later, grpc [Unavailable], http [],
        "Operators find in attestation-svc's log what is missing: a secure processor that answers, or a certificate or \
         revocation list of AMD's; the next verdict opens again.";
    /// The last rotation of this kind is not over, or services enrolled all the while.
    ROTATION_UNDER_WAY: Later, grpc [FailedPrecondition], http [],
        "Operators wait until `cube admin state` shows one key of the kind, at most 90 seconds.";
    /// The nonce is not 32 bytes; over HTTP, not 32 bytes in unpadded base64url.
    NONCE_INVALID: No, grpc [InvalidArgument], http [400],
        "Callers draw 32 random bytes for each request.";
    /// `POST /attestation`, as Cube AI has it, let callers choose what is signed; it is no more.
    ENDPOINT_GONE: No, grpc [], http [410],
        "Callers ask for `GET /attestation/report?nonce=…&binding=tls-exporter` (docs/spec/bundle.md).";
    /// The binding is unknown, or cannot be had (`hpke`, in this version).
    BINDING_UNSUPPORTED: No, grpc [InvalidArgument, Unimplemented], http [400, 501],
        "Callers ask for `tls-exporter`, or for `tls-spki` where their TLS library exports nothing.";
    /// The key that the connection showed is none of the gateway's in the key manifest.
    LISTENER_KEY_UNKNOWN: Later, grpc [PermissionDenied], http [403],
        "Callers ask again on a new connection: this one may be older than the manifest. Where it lasts, report it.";
    /// No report could be had in time: the secure processor is busy, throttled or failing, or attestation-svc is away.
    EVIDENCE_UNAVAILABLE: Later, grpc [Unavailable, DeadlineExceeded], http [503, 504],
        "Callers retry with backoff. Operators look into attestation-svc's log.";
    /// A field of the request is missing, malformed or out of range, or the body broke off or was too long in coming.
    INVALID_REQUEST: No, grpc [InvalidArgument, DeadlineExceeded], http [400, 415, 504],
        "Callers mend what the message names; the metadata `field`, or `param` over HTTP, is its path. 415: the content \
         type has to be `application/json`. 504: send the body within `limits.unary_seconds`.";
    /// The request has a parameter that Cube does not know; the message names it.
    UNKNOWN_PARAMETER: No, grpc [], http [400],
        "Callers remove it, or correct its spelling.";
    /// The backend or its model cannot do what a field asks for; the metadata `field`, or `param` over HTTP, names it.
    UNSUPPORTED_BY_BACKEND: No, grpc [Unimplemented], http [400],
        "Callers leave the field out, or ask another model.";
    /// The model server has no such endpoint, or not for this model.
    ENDPOINT_NOT_IN_BACKEND: No, grpc [Unimplemented], http [501],
        "Callers ask another endpoint or another model; docs/apis.md has what each backend is asked for. Operators may \
         have to start the model server with a flag for it.";
    /// Models are fixed by whoever runs the model server: nobody pulls, pushes, creates or deletes one through Cube.
    MODELS_ARE_FIXED: No, grpc [], http [403],
        "Callers take a model that `GET /api/tags` or `GET /v1/models` lists. Operators manage models on the machine.";
    /// There is no such method, path or health name here.
    UNKNOWN_METHOD: No, grpc [Unimplemented, NotFound], http [404, 405, 501],
        "Callers correct the path, or the HTTP method (405). 501: operators give gateway and adapter the same version.";
    /// The body is larger than the limit, or the prompt longer than the model's context.
    REQUEST_TOO_LARGE: No, grpc [ResourceExhausted, InvalidArgument], http [413],
        "Callers shorten the conversation. Operators may raise `limits.body_bytes` of gateway and adapter, or the \
         context of the model server.";
    /// The key or client certificate is missing, not known here, or has expired.
    CREDENTIAL_REFUSED: No, grpc [Unauthenticated], http [401],
        "Callers send `Authorization: Bearer KEY` (or `x-api-key`), with a key that is in the gateway's file of keys. \
         Operators make one with `cube key new`, or list the SPIFFE ID of a client certificate there.";
    /// The key does not allow this model.
    MODEL_NOT_ALLOWED: No, grpc [PermissionDenied], http [403],
        "Callers ask a model that `ListModels` or `GET /v1/models` shows them. Operators name it in `models` of the key.";
    /// The key has as many requests open as it may, or has asked as often as it may in a minute.
    RATE_LIMITED: Later, grpc [ResourceExhausted], http [429],
        "Callers retry after `Retry-After`. Operators may raise `concurrent` or `per_minute` of the key.";
    /// The backend has no model of that name.
    MODEL_NOT_FOUND: No, grpc [NotFound], http [404],
        "Callers take a name from `ListModels` or `GET /v1/models`. Operators load the model into the model server.";
    /// The model server cannot be reached, or closed the connection before it answered.
    BACKEND_UNAVAILABLE: Later, grpc [Unavailable], http [503],
        "Callers retry. Operators start the model server at `backend.address`; the message says what was met there.";
    /// What listens at the model server's address runs as another user than the measured configuration says. Nothing
    /// was sent to it.
    BACKEND_WRONG_UID: Later, grpc [Unavailable], http [503],
        "Operators find the process in the adapter's log, by its user, and end it; or correct `backend.uid`, which makes \
         another deployment.";
    /// The model server refused the request. Its own words are withheld, because they can repeat the prompt.
    BACKEND_REFUSED: No, grpc [InvalidArgument], http [400],
        "Callers change the request. Operators find the model server's words in its own log.";
    /// The model server failed while it worked on the request, or wants a credential that Cube does not have.
    BACKEND_FAILED: Later, grpc [Internal], http [500],
        "Callers may retry. Operators look into the model server's log.";
    /// The model server sent what its protocol does not allow, or more than a limit.
    BACKEND_PROTOCOL: No, grpc [Internal], http [500],
        "Operators check `backend.kind` and the model server's version; for what is too long, `limits.frame_bytes` and \
         `limits.body_bytes`. Otherwise report it.";
    /// The answer ended without its end marker: what came is not complete.
    BACKEND_TRUNCATED: Later, grpc [DataLoss], http [500],
        "Callers do not use what came, and may ask again. Operators look whether the model server crashed or was stopped.";
    /// The model server was silent for longer than the limit, or than the caller's deadline; the metadata `phase` says
    /// what was waited for: `first_token`, `stream_idle`, `unary` (the whole answer), `models` (their list), `answer`
    /// (any other short answer of the model server) or `deadline` (the caller's own).
    BACKEND_TIMEOUT: Later, grpc [DeadlineExceeded], http [504],
        "Callers retry, or set a later deadline where `phase` is `deadline`. Operators look at the load of the model \
         server, and may raise `limits.first_token_seconds`, `limits.stream_idle_seconds` or `limits.unary_seconds`.";
    /// The model server is at its limit, or still loads its model.
    BACKEND_OVERLOADED: Later, grpc [Unavailable], http [503],
        "Callers retry with backoff. Operators look at the load of the model server.";
    /// The gateway has no attached connection to the adapter.
    ADAPTER_UNAVAILABLE: Later, grpc [Unavailable], http [503],
        "Callers retry. Operators look whether backend-adapter runs at the gateway's `adapter`, and into both logs.";
    /// The gateway is at a limit: of the bytes of waiting requests, of requests at work and waiting, or of the calls to the
    /// adapter.
    OVERLOADED: Later, grpc [ResourceExhausted, Unavailable], http [429, 503],
        "Callers retry with backoff, over HTTP after `Retry-After`. Operators may raise `limits.bodies_bytes`, or add \
         replicas.";
    /// A defect in Cube.
    INTERNAL: No, grpc [Internal], http [500],
        "Report it, with the header `cube-request-id` of the answer and the logs of that time.";
}

#[cfg(test)]
mod tests;
