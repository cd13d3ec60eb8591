use proto::access::METHODS;
use service_runtime::{TlsFacts, UnixPeer};

use super::*;

const BACKEND: &str = "cube.backend.v1.BackendService";
const GENERATE: &str = "/cube.backend.v1.BackendService/Generate";
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// A connection whose peer showed a certificate for `uri`.
fn tls(uri: &str) -> Connection {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let peer_leaf = Some(certificate.der().clone());
    let tls = TlsFacts { exporter: [0; 32], leaf_spki_sha256: [0; 32], peer_leaf, http2: true };
    Connection { id: 1, tls: Some(tls), unix_peer: None }
}

fn service(role: &str) -> Connection {
    tls(&format!("spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/{role}"))
}

fn process(uid: u32) -> Connection {
    let unix_peer = Some(UnixPeer { uid, pid: None, unit: None });
    Connection { id: 1, tls: None, unix_peer }
}

fn refusal(methods: &Methods, connection: Option<&Connection>, path: &str) -> Option<String> {
    proto::reason_of(&methods.admit(connection, path).err()?)
}

#[test]
fn the_certificate_of_the_connection_decides() {
    let methods = Methods::new(Callers::Svid, &[BACKEND, "grpc.health.v1.Health"]);
    assert_eq!(refusal(&methods, Some(&service("gateway")), GENERATE), None);
    for role in ["adapter", "attestation"] {
        let peer = service(role);
        assert_eq!(refusal(&methods, Some(&peer), GENERATE).as_deref(), Some(reason::PEER_NOT_ALLOWED));
        assert_eq!(refusal(&methods, Some(&peer), CHECK), None, "health is for every service");
    }
    let strangers = [Some(tls("https://example.com/gateway")), Some(process(7)), None];
    for stranger in &strangers {
        for path in [GENERATE, CHECK, "/"] {
            let refused = refusal(&methods, stranger.as_ref(), path);
            assert_eq!(refused.as_deref(), Some(reason::PEER_NOT_ALLOWED), "{path}");
        }
    }
}

#[test]
fn the_uid_at_the_other_end_of_the_socket_decides() {
    let services = ["cube.attestation.v1.IdentityService"];
    let enroll = "/cube.attestation.v1.IdentityService/Enroll";
    let enrolling = Callers::Process { uid: 7, caller: Caller::Enrolling };
    let methods = Methods::new(enrolling, &services);
    assert_eq!(refusal(&methods, Some(&process(7)), enroll), None);
    for other in [Some(process(8)), Some(process(0)), Some(service("gateway")), None] {
        for path in [enroll, "/"] {
            let refused = refusal(&methods, other.as_ref(), path);
            assert_eq!(refused.as_deref(), Some(reason::ENROLMENT_WRONG_UID), "{path}");
        }
    }
    // On admin.sock the same process is somebody else, and enrols nobody.
    let administrator = Callers::Process { uid: 7, caller: Caller::Administrator };
    let methods = Methods::new(administrator, &services);
    assert_eq!(refusal(&methods, Some(&process(7)), enroll).as_deref(), Some(reason::PEER_NOT_ALLOWED));
}

#[test]
fn only_root_and_the_services_own_user_are_administrators() {
    let administrator = Callers::Process { uid: 7, caller: Caller::Administrator };
    let methods = Methods::new(administrator, &["cube.attestation.v1.AdminService"]);
    let revoke = "/cube.attestation.v1.AdminService/Revoke";
    for uid in [0, 7] {
        assert_eq!(refusal(&methods, Some(&process(uid)), revoke), None, "{uid}");
    }
    for other in [Some(process(8)), Some(process(u32::MAX)), Some(service("attestation")), None] {
        let refused = refusal(&methods, other.as_ref(), revoke);
        assert_eq!(refused.as_deref(), Some(reason::ADMIN_WRONG_UID));
    }
}

#[test]
fn outsiders_are_refused_whatever_they_show_where_the_table_does_not_name_them() {
    let methods = Methods::new(Callers::Public, &[BACKEND, "grpc.health.v1.Health"]);
    for peer in [Some(service("gateway")), Some(process(0)), None] {
        assert_eq!(refusal(&methods, peer.as_ref(), GENERATE).as_deref(), Some(reason::PEER_NOT_ALLOWED));
        assert_eq!(refusal(&methods, peer.as_ref(), CHECK), None);
    }
}

#[test]
fn what_this_listener_does_not_serve_is_unknown_here_and_waits_behind_the_gate() {
    let methods = Methods::new(Callers::Svid, &[BACKEND]);
    let gateway = service("gateway");
    let elsewhere = "/cube.attestation.v1.EvidenceService/CollectEvidence";
    for path in
        [elsewhere, CHECK, "/cube.backend.v1.BackendService/Other", "/cube.backend.v1.BackendService", ""]
    {
        let refused = refusal(&methods, Some(&gateway), path);
        assert_eq!(refused.as_deref(), Some(reason::UNKNOWN_METHOD), "{path}");
        assert!(!methods.answers_while_shut(path), "{path}");
    }
}

#[test]
fn only_what_requires_nothing_answers_while_shut() {
    let methods = Methods::new(Callers::Svid, &[BACKEND, "grpc.health.v1.Health"]);
    assert!(methods.answers_while_shut(CHECK));
    for path in
        [GENERATE, "/cube.backend.v1.BackendService/Attach", "/grpc.health.v1.HealthX/Check", "/v1/models"]
    {
        assert!(!methods.answers_while_shut(path), "{path}");
    }
}

#[test]
fn a_method_without_an_entry_is_left_out() {
    let short =
        |path: &str| METHODS.iter().filter(|method| method.path != GENERATE).find(|it| it.path == path);
    let methods = entries(&[BACKEND], short);
    assert!(!methods.contains_key(GENERATE) && methods.len() == 3, "{methods:?}");
    let methods = Methods(Arc::new(Inner { callers: Callers::Svid, methods }));
    let refused = refusal(&methods, Some(&service("gateway")), GENERATE);
    assert_eq!(refused.as_deref(), Some(reason::UNKNOWN_METHOD));
}
