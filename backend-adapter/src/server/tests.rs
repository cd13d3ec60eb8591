use axum::{body::Body, extract::Request};
use e2e::fake_backend::FakeBackend;
use nix::unistd::geteuid;
use proto::{
    access::{METHODS, Method, Requires},
    reason,
};
use service_runtime::{BackendAddress, CancellationToken, Connection, TlsFacts};
use tonic::Status;
use tower::ServiceExt;

use super::*;
use crate::{AnswerLimits, backend::Dialect, dial::Endpoint};

/// The listener without its gate, which only a lease opens; `crates/e2e` has both.
struct World {
    backend: FakeBackend,
    router: Router,
}

impl World {
    async fn new() -> Self {
        let backend = FakeBackend::start().await.unwrap();
        let endpoint = Endpoint { address: BackendAddress::Tcp(backend.address()), uid: geteuid().as_raw() };
        let server = ModelServer::new(Dialect::OpenAi, endpoint, AnswerLimits::default());
        let (router, _) = guarded(Arc::new(server), Serving::until(CancellationToken::new()));
        Self { backend, router }
    }

    /// Why an empty message to `path` by `role` is refused, if it is.
    async fn refusal(&self, role: &str, path: &str) -> Option<String> {
        let request = Request::post(path).header("content-type", "application/grpc");
        let mut request = request.body(Body::from(&b"\0\0\0\0\0"[..])).unwrap();
        request.extensions_mut().insert(connection(role));
        let response = self.router.clone().oneshot(request).await.unwrap();
        proto::reason_of(&Status::from_header_map(response.headers())?)
    }
}

/// A connection whose peer showed the certificate of `role`.
fn connection(role: &str) -> Arc<Connection> {
    let uri = format!("spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/{role}");
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let peer_leaf = Some(certificate.der().clone());
    let tls = TlsFacts { exporter: [0; 32], leaf_spki_sha256: [0; 32], peer_leaf, http2: true };
    Arc::new(Connection { id: 1, tls: Some(tls), unix_peer: None })
}

/// The table's methods of `cube.backend.v1`.
fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().filter(|method| method.path.starts_with("/cube.backend.v1."))
}

#[tokio::test]
async fn every_method_is_for_the_gateway_alone() {
    let world = World::new().await;
    for method in methods() {
        for other in ["adapter", "attestation"] {
            let refused = world.refusal(other, method.path).await;
            assert_eq!(refused.as_deref(), Some(reason::PEER_NOT_ALLOWED), "{} by {other}", method.path);
        }
        let gateway = world.refusal("gateway", method.path).await;
        assert_ne!(gateway.as_deref(), Some(reason::PEER_NOT_ALLOWED), "{}", method.path);
    }
    assert_eq!(methods().count(), 4);
}

#[tokio::test]
async fn what_the_table_says_needs_an_attached_peer_is_refused_before_attach() {
    let world = World::new().await;
    let needing = || methods().filter(|method| method.requires == Requires::AttachedPeer);
    for method in needing() {
        let refused = world.refusal("gateway", method.path).await;
        assert_eq!(refused.as_deref(), Some(reason::PEER_NOT_ATTACHED), "{}", method.path);
    }
    assert_eq!(needing().count(), 3);
    assert_eq!(world.backend.connections(), 0, "no call reaches the model server");
}

#[tokio::test]
async fn health_and_reflection_are_for_every_service_of_the_cvm() {
    let world = World::new().await;
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        assert_eq!(world.refusal("attestation", path).await, None, "{path}");
    }
}
