//! Who may call which method, and what has to hold before it runs: the only statement of both.
//!
//! The services' listeners consult this table and know no list of their own (`crates/grpc-surface`);
//! `docs/access.md` is written from it. A method that is not here is refused; a test holds the table to the
//! descriptors, in both directions.

use std::fmt;

/// One method of one service.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// `/package.Service/Method`, as it stands in a request.
    pub path: &'static str,
    /// Whoever is none of these is refused.
    pub callers: &'static [Caller],
    /// What a call costs, and so what bounds the number of calls.
    pub rate: Rate,
    /// What has to hold before the call reaches its method.
    pub requires: Requires,
}

/// An enum whose sentences are documentation here and in `docs/access.md`.
macro_rules! told {
    ($($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident,)* })*) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $meaning])+ $variant,)*
        }

        impl $name {
            /// Each with its meaning.
            pub const ALL: &[(Self, &str)] = &[$((Self::$variant, concat!($($meaning),+).trim_ascii())),*];
        }
    )*};
}

told! {
    /// Who calls, as the listener knows them before the first byte of a request is read.
    Caller {
        /// Anybody who reaches the gateway's public listener.
        Public,
        /// A service of this CVM instance, by the SVID of its mutual TLS connection.
        Service,
        /// inference-gateway of this CVM instance, by the SVID of its mutual TLS connection.
        Gateway,
        /// A process of the uid that the measured configuration states for an identity, on that identity's
        /// enrolment socket.
        Enrolling,
        /// A mesh's proxy inside this CVM: a process of the uid that the measured configuration states for it, on
        /// `mesh.sock`.
        Proxy,
        /// A process of the administrator, on `admin.sock`.
        Administrator,
    }

    /// What a call costs. The bounds named here are today's; none of them counts calls per caller yet.
    Rate {
        /// Answered from memory, or by one such call to attestation-svc. Bounded by the streams of a connection (256)
        /// and the connections of a listener (10,000; 16 on an enrolment socket).
        Lookup,
        /// A stream that costs something only when there is something to say. Bounded like a lookup; on the
        /// public listener the caller's own side of it ends after `limits.unary_seconds`.
        Standing,
        /// A report of the secure processor for an outsider. Made one after the other; 64 callers wait, and one more is
        /// refused at once.
        Report,
        /// A report of the secure processor for a service of the CVM, and certificates. One holder per identity, and
        /// ahead of every report for an outsider but the one being made.
        Enrolment,
        /// Work of the model server. Bounded by the bytes of all requests together (`limits.bodies_bytes`), by 250
        /// calls on each of eight connections between gateway and adapter, and by what the model server accepts.
        Model,
    }

    /// What has to hold before a call reaches its method.
    Requires {
        /// Nothing: it answers while the gate is shut.
        Nothing,
        /// A live lease of the service that answers. attestation-svc, which grants the leases, holds none: on its
        /// listeners there is no gate that could be shut.
        Lease,
        /// A live lease, and live health tokens exchanged on the very connection (`BackendService.Attach`).
        AttachedPeer,
    }
}

impl Caller {
    /// Whether somebody known as `self` is among those that `allowed` names.
    pub fn is(self, allowed: Self) -> bool {
        self == allowed || (self == Self::Gateway && allowed == Self::Service)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a caller of the public listener",
            Self::Service => "a service of this CVM",
            Self::Gateway => "the gateway of this CVM",
            Self::Enrolling => "the identity's own process",
            Self::Proxy => "the mesh's proxy in this CVM",
            Self::Administrator => "an administrator",
        })
    }
}

impl Method {
    /// Whether `caller` may call this.
    pub fn allows(&self, caller: Caller) -> bool {
        self.callers.iter().any(|allowed| caller.is(*allowed))
    }
}

/// The entry of `path`, such as `/grpc.health.v1.Health/Check`.
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

const PUBLIC: &[Caller] = &[Caller::Public];
const GATEWAY: &[Caller] = &[Caller::Gateway];
const ENROLLING: &[Caller] = &[Caller::Enrolling];
const PROXY: &[Caller] = &[Caller::Proxy];
const ADMINISTRATOR: &[Caller] = &[Caller::Administrator];
/// Each on the listener that knows them.
const EVERYBODY: &[Caller] =
    &[Caller::Public, Caller::Service, Caller::Enrolling, Caller::Proxy, Caller::Administrator];

/// Every method of every service.
#[rustfmt::skip]
pub const METHODS: &[Method] = &[
    // inference-gateway, public listener.
    entry("/cube.attestation.v1.AttestationService/GetEvidence", PUBLIC, Rate::Report, Requires::Lease),
    entry("/cube.attestation.v1.AttestationService/GetKeyManifest", PUBLIC, Rate::Lookup, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/Chat", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/StreamChat", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/Complete", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/StreamComplete", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/Embed", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/Rerank", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/Tokenize", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.InferenceService/Detokenize", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.ModelService/ListModels", PUBLIC, Rate::Model, Requires::Lease),
    entry("/cube.inference.v1.ModelService/GetModel", PUBLIC, Rate::Model, Requires::Lease),

    // backend-adapter, mutual TLS.
    entry("/cube.backend.v1.BackendService/Attach", GATEWAY, Rate::Standing, Requires::Lease),
    entry("/cube.backend.v1.BackendService/Generate", GATEWAY, Rate::Model, Requires::AttachedPeer),
    entry("/cube.backend.v1.BackendService/Relay", GATEWAY, Rate::Model, Requires::AttachedPeer),
    entry("/cube.backend.v1.BackendService/ListModels", GATEWAY, Rate::Model, Requires::AttachedPeer),

    // attestation-svc, mutual TLS.
    entry("/cube.attestation.v1.EvidenceService/CollectEvidence", GATEWAY, Rate::Report, Requires::Nothing),
    entry("/cube.attestation.v1.EvidenceService/CollectCachedEvidence", GATEWAY, Rate::Lookup, Requires::Nothing),
    entry("/cube.attestation.v1.EvidenceService/CollectKeyManifest", GATEWAY, Rate::Lookup, Requires::Nothing),

    // attestation-svc, one enrolment socket per identity.
    entry("/cube.attestation.v1.IdentityService/Enroll", ENROLLING, Rate::Enrolment, Requires::Nothing),
    entry("/cube.attestation.v1.IdentityService/WatchBundle", ENROLLING, Rate::Standing, Requires::Nothing),
    entry("/cube.attestation.v1.HealthService/Lease", ENROLLING, Rate::Standing, Requires::Nothing),

    // attestation-svc, mesh.sock.
    entry("/envoy.service.auth.v3.Authorization/Check", PROXY, Rate::Lookup, Requires::Nothing),
    entry("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", PROXY, Rate::Standing, Requires::Nothing),

    // attestation-svc, admin.sock.
    entry("/cube.attestation.v1.AdminService/GetState", ADMINISTRATOR, Rate::Lookup, Requires::Nothing),
    entry("/cube.attestation.v1.AdminService/Revoke", ADMINISTRATOR, Rate::Lookup, Requires::Nothing),
    entry("/cube.attestation.v1.AdminService/Reinstate", ADMINISTRATOR, Rate::Lookup, Requires::Nothing),
    entry("/cube.attestation.v1.AdminService/Rotate", ADMINISTRATOR, Rate::Lookup, Requires::Nothing),

    // Every listener. Health says whether the gate is open, so it has to answer while it is shut.
    entry("/grpc.health.v1.Health/Check", EVERYBODY, Rate::Lookup, Requires::Nothing),
    entry("/grpc.health.v1.Health/Watch", EVERYBODY, Rate::Standing, Requires::Nothing),
    // What is described is public text. Behind the gate all the same: after a lapse health answers and nothing else,
    // so that nobody has to reason about what a door that should be shut still lets out.
    entry("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", EVERYBODY, Rate::Standing, Requires::Lease),
    entry("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", EVERYBODY, Rate::Standing, Requires::Lease),
];

const fn entry(path: &'static str, callers: &'static [Caller], rate: Rate, requires: Requires) -> Method {
    Method { path, callers, rate, requires }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Every method there is: Cube's own, and those that its listeners serve besides.
    fn described() -> BTreeSet<String> {
        let sets = [
            crate::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file);
        files.flat_map(|file| crate::method_paths(&file).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn every_method_has_an_entry_and_every_entry_a_method() {
        let entries: BTreeSet<_> = METHODS.iter().map(|method| method.path.to_owned()).collect();
        let described = described();
        let missing: Vec<_> = described.difference(&entries).collect();
        assert!(missing.is_empty(), "give these an entry in proto/src/access.rs: {missing:?}");
        let left: Vec<_> = entries.difference(&described).collect();
        assert!(left.is_empty(), "these entries have no method any more: {left:?}");
        assert_eq!(entries.len(), METHODS.len(), "one entry per method");
    }

    #[test]
    fn only_health_answers_outsiders_and_the_gateway_while_the_gate_is_shut() {
        let of_gated_listeners = |method: &&Method| {
            [Caller::Public, Caller::Gateway].iter().any(|caller| method.allows(*caller))
                && !method.path.starts_with("/cube.attestation.v1.EvidenceService/")
        };
        let open = METHODS.iter().filter(of_gated_listeners);
        let open = open.filter(|method| method.requires == Requires::Nothing);
        let open: Vec<_> = open.map(|method| method.path).collect();
        assert_eq!(open, ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]);
    }

    #[test]
    fn the_gateway_is_a_service_and_nobody_is_anybody_else() {
        assert!(Caller::Gateway.is(Caller::Service) && Caller::Gateway.is(Caller::Gateway));
        assert!(!Caller::Service.is(Caller::Gateway) && !Caller::Public.is(Caller::Service));
        assert!(!Caller::Administrator.is(Caller::Enrolling) && !Caller::Enrolling.is(Caller::Administrator));
    }

    #[test]
    fn outsiders_reach_nothing_that_is_for_services() {
        let inside =
            ["BackendService", "EvidenceService", "IdentityService", "HealthService", "AdminService"];
        let inner = METHODS.iter().filter(|method| inside.iter().any(|name| method.path.contains(name)));
        let reached: Vec<_> = inner.filter(|method| method.allows(Caller::Public)).collect();
        assert!(reached.is_empty(), "{reached:?}");
    }

    #[test]
    fn a_path_that_is_not_exactly_an_entry_has_none() {
        assert!(method("/grpc.health.v1.Health/Check").is_some());
        for path in ["", "/", "/grpc.health.v1.Health/Check/", "/grpc.health.v1.Health/check", "Check"] {
            assert!(method(path).is_none(), "{path}");
        }
    }
}
