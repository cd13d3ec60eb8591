//! A gateway or adapter, as far as attestation-svc sees one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls::{Material, Role, ServiceKey, Svid};
use proto::attestation::v1::admin_service_client::AdminServiceClient;
use proto::attestation::v1::evidence_service_client::EvidenceServiceClient;
use proto::attestation::v1::health_service_client::HealthServiceClient;
use proto::attestation::v1::identity_service_client::IdentityServiceClient;
use proto::attestation::v1::{EnrollRequest, EnrollResponse, ListenerKey};
use rustls_pki_types::CertificateDer;
use service_runtime::Clock;
use snp_evidence::{Binder, Challenge, PUBLIC_LISTENER, Purpose, UnixTime, VerifiedBundle, appraise};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::ServiceExt;
use tower::util::BoxCloneService;

use crate::world::{Service, World};

pub(crate) const NONCE: [u8; 32] = [0x11; 32];

pub(crate) type Channel = BoxCloneService<Request<Body>, Response<Incoming>, hyper::Error>;

/// One HTTP/2 connection; dropping it closes the connection.
pub(crate) struct Link {
    channel: Channel,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    pub(crate) async fn unix(socket: &Path) -> Self {
        Self::open(UnixStream::connect(socket).await.unwrap()).await
    }

    pub(crate) async fn mutual(address: SocketAddr, material: &Material) -> Self {
        let connector = TlsConnector::from(material.client_config(Role::Attestation).unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        Self::open(connector.connect(mtls::no_name(), stream).await.unwrap()).await
    }

    async fn open(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake::<_, Body>(TokioIo::new(io)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        let send = tower::service_fn(move |request| sender.clone().send_request(request));
        Self { channel: BoxCloneService::new(send), driver }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn identities(&self) -> IdentityServiceClient<Channel> {
        IdentityServiceClient::with_origin(self.channel.clone(), Uri::from_static("http://attestation"))
    }

    pub(crate) fn leases(&self) -> HealthServiceClient<Channel> {
        HealthServiceClient::with_origin(self.channel.clone(), Uri::from_static("http://attestation"))
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::with_origin(self.channel.clone(), Uri::from_static("http://attestation"))
    }

    /// What grpc.health.v1 says of `service`.
    pub(crate) async fn health(&self, service: &str) -> i32 {
        let mut client =
            HealthClient::with_origin(self.channel.clone(), Uri::from_static("http://attestation"));
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.unwrap().get_ref().status
    }

    /// What grpc.health.v1 says of `service`, as it changes.
    pub(crate) async fn watch(&self, service: &str) -> Streaming<HealthCheckResponse> {
        let mut client =
            HealthClient::with_origin(self.channel.clone(), Uri::from_static("http://attestation"));
        let request = HealthCheckRequest { service: service.to_owned() };
        client.watch(request).await.unwrap().into_inner()
    }

    /// The services that reflection lists.
    pub(crate) async fn listed(&self) -> Vec<String> {
        let origin = Uri::from_static("http://attestation");
        let mut client = ServerReflectionClient::with_origin(self.channel.clone(), origin);
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let question = ServerReflectionRequest { host: String::new(), message_request };
        let answers = client.server_reflection_info(stream::iter([question])).await;
        let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            unreachable!("{answer:?}")
        };
        list.service.into_iter().map(|service| service.name).collect()
    }

    /// The reason why a call of `path` by an empty message is refused, where the answer begins with a refusal.
    pub(crate) async fn refusal(&self, path: &str) -> Option<String> {
        let request = Request::post(format!("http://attestation{path}"));
        let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
        let response = self.channel.clone().oneshot(request).await.unwrap();
        proto::reason_of(&Status::from_header_map(response.headers())?)
    }

    pub(crate) fn evidence(&self) -> EvidenceServiceClient<Channel> {
        EvidenceServiceClient::with_origin(self.channel.clone(), Uri::from_static("http://attestation"))
    }
}

/// A service with its keys.
pub(crate) struct Peer {
    pub(crate) role: Role,
    pub(crate) key: ServiceKey,
    pub(crate) listener: ServiceKey,
}

impl Peer {
    pub(crate) fn new(role: Role) -> Self {
        let key = || ServiceKey::generate().unwrap();
        Self { role, key: key(), listener: key() }
    }

    /// What a well-behaved service asks.
    pub(crate) fn request(&self, world: &World) -> EnrollRequest {
        let public = || ListenerKey {
            listener: PUBLIC_LISTENER.to_owned(),
            csr: self.listener.csr_der().unwrap().into(),
        };
        EnrollRequest {
            csr: self.key.csr_der().unwrap().into(),
            listeners: (self.role == Role::Gateway).then(public).into_iter().collect(),
            nonce: Bytes::copy_from_slice(&NONCE),
            measured_config_sha256: Bytes::copy_from_slice(world.config().measured.sha256()),
        }
    }

    pub(crate) async fn connect(&self, world: &World) -> Link {
        Link::unix(&world.socket(self.role.as_str())).await
    }

    /// Enrols on `link`, and judges the answer as health-gate would.
    pub(crate) async fn enrol(&self, world: &World, link: &Link) -> Enrolled {
        let answer = link.identities().enroll(self.request(world)).await.unwrap().into_inner();
        let binder = Binder::enrolment(self.key.spki_sha256(), &format!("enrol/{}", self.role));
        let bundle = world.appraise(&answer.evidence_bundle, Purpose::Peer, binder);
        let manifest = bundle.manifest();
        let material = Material::new(Arc::clone(&world.clock) as Arc<dyn Clock>);
        let chain = vec![certificate(&answer.svid)];
        let roots = answer.trust_bundle.iter().map(certificate).collect();
        let svid = Svid { key: self.key.clone(), chain };
        material.set(&svid, roots, &manifest.trust_domain, &manifest.instance).unwrap();
        Enrolled { answer, bundle, material }
    }

    /// Enrols, and keeps the connection for as long as the answer is kept.
    pub(crate) async fn hold(&self, world: &World) -> (Link, Enrolled) {
        let link = self.connect(world).await;
        let enrolled = self.enrol(world, &link).await;
        (link, enrolled)
    }
}

/// An accepted enrolment.
pub(crate) struct Enrolled {
    pub(crate) answer: EnrollResponse,
    pub(crate) bundle: VerifiedBundle,
    pub(crate) material: Material,
}

impl World {
    pub(crate) fn appraise(&self, bundle: &[u8], purpose: Purpose, binder: Binder) -> VerifiedBundle {
        let challenge = Challenge { purpose, nonce: NONCE, binder };
        let now = UnixTime(self.clock.unix());
        appraise(bundle, &self.roots, &self.policy(), &challenge, now).unwrap()
    }
}

impl Service {
    pub(crate) async fn mutual(&self, enrolled: &Enrolled) -> Link {
        Link::mutual(self.address, &enrolled.material).await
    }
}

pub(crate) fn certificate(der: &Bytes) -> CertificateDer<'static> {
    CertificateDer::from(der.to_vec())
}

pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) {
    let status = result.unwrap_err();
    assert_eq!((status.code(), proto::reason_of(&status).as_deref()), (code, Some(reason)), "{status:?}");
}
