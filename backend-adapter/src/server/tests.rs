use prost::Message as _;
use service_runtime::TlsFacts;
use tower::ServiceExt;

use super::*;

fn peer(role: Role) -> SpiffeId {
    SpiffeId::new("demo.cube.internal", "0123456789abcdef", role).unwrap()
}

fn reason_for(role: Option<Role>, path: &str) -> Option<String> {
    let status = authorize(role.map(peer).as_ref(), path).err()?;
    proto::reason_of(&status)
}

/// The methods of `cube.backend.v1`, as the interface itself has them.
fn methods() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let files = set.file.iter().filter(|file| file.package() == "cube.backend.v1");
    let services = files.flat_map(|file| &file.service);
    let methods = services.flat_map(|service| {
        service.method.iter().map(|method| format!("/cube.backend.v1.{}/{}", service.name(), method.name()))
    });
    methods.collect()
}

#[test]
fn every_method_is_for_the_gateway_alone() {
    assert_eq!(methods().len(), 3);
    for method in methods() {
        assert_eq!(reason_for(Some(Role::Gateway), &method), None, "{method}");
        for other in [Some(Role::Adapter), Some(Role::Attestation), None] {
            let refused = reason_for(other, &method);
            assert_eq!(refused.as_deref(), Some(reason::PEER_NOT_ALLOWED), "{method} by {other:?}");
        }
    }
}

#[test]
fn health_is_for_every_identity_and_for_nobody_else() {
    assert_eq!(reason_for(Some(Role::Attestation), "/grpc.health.v1.Health/Check"), None);
    assert!(reason_for(None, "/grpc.health.v1.Health/Check").is_some());
}

#[test]
fn a_method_without_an_entry_is_unknown() {
    for path in ["/cube.backend.v1.BackendService/Other", "/cube.backend.v1.BackendService", "/", ""] {
        assert_eq!(reason_for(Some(Role::Gateway), path).as_deref(), Some(reason::UNKNOWN_METHOD), "{path}");
    }
}

#[test]
fn only_health_passes_the_gate_shut() {
    for (path, exempt) in [
        ("/grpc.health.v1.Health/Check", true),
        ("/cube.backend.v1.BackendService/Generate", false),
        ("/grpc.health.v1.HealthX/Check", false),
    ] {
        let (parts, ()) = http::Request::get(path).body(()).unwrap().into_parts();
        assert_eq!(is_health(&parts), exempt, "{path}");
    }
}

/// A connection whose peer showed a certificate for `uri`.
fn connection(uri: &str) -> Arc<Connection> {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let peer_leaf = Some(certificate.der().clone());
    let tls = TlsFacts { exporter: [0; 32], leaf_spki_sha256: [0; 32], peer_leaf, http2: true };
    Arc::new(Connection { id: 1, peer: None, tls: Some(tls), unix_peer: None })
}

async fn asked_by(connection: Option<Arc<Connection>>) -> Option<String> {
    let path = "/cube.backend.v1.BackendService/Generate";
    let inner = Router::new().route(path, axum::routing::post(async || "reached"));
    let mut request = Request::post(path).body(axum::body::Body::empty()).unwrap();
    if let Some(connection) = connection {
        request.extensions_mut().insert(connection);
    }
    let response = inner.layer(from_fn(known_peer)).oneshot(request).await.unwrap();
    let status = Status::from_header_map(response.headers())?;
    proto::reason_of(&status)
}

#[tokio::test]
async fn the_certificate_of_the_connection_decides() {
    let id = |role: Role| peer(role).to_string();
    assert_eq!(asked_by(Some(connection(&id(Role::Gateway)))).await, None);
    let others = [Some(id(Role::Adapter)), Some("https://example.com/gateway".to_owned()), None];
    for other in others {
        let refused = asked_by(other.as_deref().map(connection)).await;
        assert_eq!(refused.as_deref(), Some(reason::PEER_NOT_ALLOWED), "{other:?}");
    }
}
