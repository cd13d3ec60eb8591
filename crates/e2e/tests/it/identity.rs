//! Who may be whom, and who may call whom, among real processes.

use std::sync::Arc;

use dev_stack::Service;
use health_gate::{Holder, HolderConfig};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::backend::v1::{GenerateRequest, backend_service_client::BackendServiceClient};
use service_runtime::{CancellationToken, MeasuredConfig, SystemClock, TaskTracker};
use snp_evidence::Policy;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{Code, Status, body::Body};
use tower::util::BoxCloneService;

use crate::rig::{PATIENCE, Rig, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_holder_of_an_identity_is_refused() {
    let mut rig = Rig::serving("openai").await;
    let config = rig.files().config(Service::Gateway);
    let other = rig.files().folder().join("second.toml");
    let text = std::fs::read_to_string(config).unwrap().replace(":8443", ":9443");
    std::fs::write(&other, format!("start_timeout_seconds = 2\n{text}")).unwrap();
    let mut second = std::process::Command::new(crate::rig::program("sim-inference-gateway"));
    second.arg("--config").arg(&other).arg("--simulated-root").arg(rig.files().root());
    let output = rig.blocking(|_| second.output()).unwrap();
    assert_eq!(output.status.code(), Some(7));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("IDENTITY_IN_USE"), "{log}");
    assert!(rig.port_is_bound(), "the first holder is not disturbed");
    let mut stream = rig.stream_chat().await.unwrap();
    assert!(stream.message().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_free_again_when_its_holder_has_gone() {
    let mut rig = Rig::serving("openai").await;
    rig.blocking(|rig| rig.stack.kill(Service::Gateway)).unwrap();
    rig.stack.start(Service::Gateway).unwrap();
    rig.blocking(|rig| rig.stack.wait_for(Service::Gateway, "\"serving\"", PATIENCE)).unwrap();
    let mut stream = rig.stream_chat().await.unwrap();
    assert!(stream.message().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_before_attach_is_refused() {
    let mut rig = with_attestation().await;
    rig.stack.start(Service::Adapter).unwrap();
    rig.wait_for(Service::Adapter, "\"serving\"");
    let gateway = hold(&rig, mtls::Role::Gateway).await;
    let refused = generate(&rig, &gateway.material()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(proto::reason_of(&refused).as_deref(), Some("PEER_NOT_ATTACHED"));
    assert!(rig.backend.requests().is_empty(), "nothing reached the model server");
}

/// The SVID of another role outlives its holder; the adapter must not take it for the gateway's.
#[tokio::test(flavor = "multi_thread")]
async fn another_identity_of_the_same_cvm_calling_the_adapter_is_refused() {
    let mut rig = with_attestation().await;
    let other = hold(&rig, mtls::Role::Adapter).await;
    let material = other.material();
    drop(other);
    rig.stack.start(Service::Adapter).unwrap();
    rig.wait_for(Service::Adapter, "\"serving\"");
    let refused = generate(&rig, &material).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(proto::reason_of(&refused).as_deref(), Some("PEER_NOT_ALLOWED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_of_another_cvm_cannot_even_connect() {
    let mut rig = with_attestation().await;
    rig.stack.start(Service::Adapter).unwrap();
    rig.wait_for(Service::Adapter, "\"serving\"");
    let elsewhere = with_attestation().await;
    let stranger = hold(&elsewhere, mtls::Role::Gateway).await;
    assert!(dial(&rig, &stranger.material()).await.is_err());
}

pub(crate) async fn with_attestation() -> Rig {
    let mut rig = Rig::prepared("openai").await;
    rig.stack.start(Service::Attestation).unwrap();
    rig.wait_for(Service::Attestation, "can be enrolled");
    rig
}

/// Holds an identity of the stack in this process, as the service would.
pub(crate) async fn hold(rig: &Rig, role: mtls::Role) -> Holder {
    mtls::install_crypto_provider();
    let files = rig.files();
    let config = HolderConfig {
        role,
        run_dir: files.run_dir(),
        measured: MeasuredConfig::load(&files.measured()).unwrap(),
        policy: Policy::parse(&std::fs::read(files.policy()).unwrap()).unwrap(),
        roots: rig.roots(),
        listeners: vec![],
        callers: None,
        start_timeout: PATIENCE,
        drain: PATIENCE,
        clock: Arc::new(SystemClock),
    };
    health_gate::start(config, CancellationToken::new(), &TaskTracker::new()).await.unwrap()
}

async fn generate(rig: &Rig, material: &mtls::Material) -> Result<(), Status> {
    let service = sending(&dial(rig, material).await.unwrap());
    let uri = "https://adapter.internal".parse().unwrap();
    let request =
        GenerateRequest { request_id: "test".into(), spec: Some(spec("hello")), cache_salt: String::new() };
    BackendServiceClient::with_origin(service, uri).generate(request).await.map(drop)
}

/// A tower service for generated clients.
pub(crate) type Channel = BoxCloneService<Request<Body>, Response<Incoming>, hyper::Error>;

pub(crate) fn sending(sender: &SendRequest<Body>) -> Channel {
    let sender = sender.clone();
    BoxCloneService::new(tower::service_fn(move |request| sender.clone().send_request(request)))
}

/// Mutual TLS to the adapter, up to the first answer on the connection: in TLS 1.3 a client learns
/// only then whether its own certificate was accepted.
pub(crate) async fn dial(rig: &Rig, material: &mtls::Material) -> std::io::Result<SendRequest<Body>> {
    let config = material.client_config(mtls::Role::Adapter).unwrap();
    let stream = TcpStream::connect((rig.ip, 8445)).await?;
    let stream = TlsConnector::from(config).connect(mtls::no_name(), stream).await?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    let probe = Request::get("https://adapter.internal/").body(Body::empty()).unwrap();
    sender.send_request(probe).await.map_err(std::io::Error::other)?;
    Ok(sender)
}
