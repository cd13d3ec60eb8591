//! What a mesh's proxy in the CVM is told and handed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Uri;
use mtls::Role;
use nix::unistd::geteuid;
use prost::Message;
use proto::envoy::auth::attribute_context::{HttpRequest, Peer as Source, Request as Asked};
use proto::envoy::auth::authorization_client::AuthorizationClient;
use proto::envoy::auth::check_response::HttpResponse;
use proto::envoy::auth::{AttributeContext, CheckRequest, CheckResponse};
use proto::envoy::secret::secret::Type;
use proto::envoy::secret::secret_discovery_service_client::SecretDiscoveryServiceClient;
use proto::envoy::secret::{DiscoveryRequest, DiscoveryResponse, Secret};
use proto::reason;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::lease::Lease;
use crate::peer::{Link, NONCE, Peer};
use crate::world::{PATIENCE, Service, World, sha256};

fn origin() -> Uri {
    Uri::from_static("http://attestation")
}

fn world() -> World {
    with_proxy(geteuid().as_raw())
}

fn with_proxy(uid: u32) -> World {
    let mut world = World::new();
    let text = std::fs::read_to_string(world.path("measured.toml")).unwrap();
    let text = format!("{text}[mesh]\nuid = {uid}\nworkloads = [\"embedder\", \"ward\"]\n");
    std::fs::write(world.path("measured.toml"), &text).unwrap();
    world.device.guest.host_data = sha256(text.as_bytes());
    world
}

/// The proxy's connection.
struct Proxy(Link);

impl Proxy {
    async fn connect(world: &World) -> Self {
        Self(Link::unix(&world.path("run").join("mesh.sock")).await)
    }

    async fn check(&self, gate: Option<&str>, source: Source, headers: &[(&str, &str)]) -> CheckResponse {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let http = Some(HttpRequest { headers, header_map: None });
        let extensions = gate.map(|gate| ("cube-gate".to_owned(), gate.to_owned())).into_iter().collect();
        let attributes = AttributeContext {
            source: Some(source),
            request: Some(Asked { http }),
            context_extensions: extensions,
        };
        let mut client = AuthorizationClient::with_origin(self.0.channel(), origin());
        client.check(CheckRequest { attributes: Some(attributes) }).await.unwrap().into_inner()
    }

    /// The status that a caller of the workload sees; 200 where its request passes.
    async fn status(&self, gate: Option<&str>, source: Source, headers: &[(&str, &str)]) -> (i32, String) {
        let answer = self.check(gate, source, headers).await;
        let passed = answer.status.unwrap().code == 0;
        match answer.http_response.unwrap() {
            HttpResponse::OkResponse(_) if passed => (200, String::new()),
            HttpResponse::DeniedResponse(denied) if !passed => (denied.status.unwrap().code, denied.body),
            other @ (HttpResponse::OkResponse(_) | HttpResponse::DeniedResponse(_)) => {
                unreachable!("{other:?}")
            }
        }
    }

    async fn secrets(&self, names: &[&str]) -> Subscription {
        let (ask, asked) = mpsc::channel(4);
        ask.send(wanted(names)).await.unwrap();
        let mut client = SecretDiscoveryServiceClient::with_origin(self.0.channel(), origin());
        let answers = client.stream_secrets(ReceiverStream::new(asked)).await.unwrap().into_inner();
        Subscription { _ask: ask, answers }
    }
}

fn wanted(names: &[&str]) -> DiscoveryRequest {
    let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
    DiscoveryRequest { resource_names, ..DiscoveryRequest::default() }
}

struct Subscription {
    _ask: mpsc::Sender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
}

impl Subscription {
    async fn next(&mut self) -> Result<Vec<Secret>, Status> {
        let answer = timeout(PATIENCE, self.answers.message()).await.unwrap()?.unwrap();
        Ok(answer.resources.iter().map(|any| Secret::decode(any.value.as_slice()).unwrap()).collect())
    }

    /// The certificate of the only secret that was asked for.
    async fn certificate(&mut self) -> CertificateDer<'static> {
        let [secret] = self.next().await.unwrap().try_into().unwrap();
        let Some(Type::TlsCertificate(tls)) = secret.r#type else { unreachable!("no certificate") };
        assert!(tls.private_key.unwrap().inline_bytes.starts_with(b"-----BEGIN PRIVATE KEY"));
        CertificateDer::from_pem_slice(&tls.certificate_chain.unwrap().inline_bytes).unwrap()
    }
}

/// The first URI name, and the seconds from `world`'s now to the end.
fn named(world: &World, certificate: &CertificateDer<'_>) -> (String, i64) {
    use service_runtime::Clock;
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { unreachable!("not one URI") };
    ((*uri).to_owned(), parsed.validity().not_after.timestamp() - world.clock.unix())
}

/// As Envoy tells of a peer.
fn source(principal: &str, certificate: &CertificateDer<'_>) -> Source {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let pem =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate));
    let certificate = pem.replace('+', "%2B").replace(' ', "%20").replace('\n', "%0A");
    Source { principal: principal.to_owned(), certificate }
}

async fn gateway(world: &World) -> (Link, Lease, Source, String) {
    let (link, enrolled) = Peer::new(Role::Gateway).hold(world).await;
    let mut lease = Lease::open(&link).await.unwrap();
    lease.beat(1, &NONCE).await.unwrap();
    let certificate = crate::peer::certificate(&enrolled.answer.svid);
    let principal = enrolled.material.identity().unwrap().to_string();
    (link, lease, source(&principal, &certificate), hex::encode(sha256(&certificate)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbound_gate_is_shut_while_the_machine_is_not_vouched_for() {
    let world = world();
    let service = world.start().await;
    let proxy = Proxy::connect(&world).await;
    for gate in [None, Some("inbound")] {
        assert_eq!(proxy.status(gate, Source::default(), &[]).await.0, 200);
    }
    let answer = proxy.check(None, Source::default(), &[("cube-epoch", "9"), ("accept", "*/*")]).await;
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { unreachable!("denied") };
    assert_eq!(ok.headers_to_remove, ["cube-epoch"]);
    assert!(answer.dynamic_metadata.unwrap().fields.contains_key("measurement"));
    world.device.absent.store(true, Ordering::SeqCst);
    world.clock.advance(Duration::from_mins(16));
    let (status, body) = proxy.status(None, Source::default(), &[]).await;
    assert!(status == 503 && body.starts_with(reason::EVIDENCE_STALE), "{status} {body}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_gate_passes_only_whoever_holds_a_live_lease() {
    let world = world();
    let service = world.start().await;
    let proxy = Proxy::connect(&world).await;
    let (_link, mut lease, peer, digest) = gateway(&world).await;
    for gate in [None, Some("inbound"), Some("peer")] {
        assert_eq!(proxy.status(gate, peer.clone(), &[]).await, (200, String::new()));
    }
    let xfcc = format!("By=spiffe://a/b;Hash={digest};URI=x");
    assert_eq!(proxy.status(Some("peer"), peer.clone(), &[("x-forwarded-client-cert", &xfcc)]).await.0, 200);

    let other = Source { principal: peer.principal.replace("gateway", "adapter"), ..peer.clone() };
    let without = Source { certificate: String::new(), ..peer.clone() };
    let (_stranger, enrolled) = Peer::new(Role::Adapter).hold(&world).await;
    let silent = source(
        &enrolled.material.identity().unwrap().to_string(),
        &crate::peer::certificate(&enrolled.answer.svid),
    );
    let refused = [
        (Some("peer"), Source::default(), ""),
        (Some("both"), peer.clone(), ""),
        (None, other, ""),
        (None, without, ""),
        (None, silent, ""),
        (Some("peer"), peer.clone(), "Hash=00"),
        (Some("peer"), peer.clone(), "By=nobody"),
    ];
    for (gate, source, xfcc) in refused {
        let headers = [("x-forwarded-client-cert", xfcc)];
        let headers = if xfcc.is_empty() { &headers[..0] } else { &headers[..] };
        let (status, body) = proxy.status(gate, source.clone(), headers).await;
        assert!(status == 403 && body.starts_with(reason::PEER_NOT_ALLOWED), "{source:?}: {status} {body}");
    }
    world.clock.advance(Duration::from_secs(16));
    assert_eq!(proxy.status(None, peer.clone(), &[]).await.0, 403, "no sign of life for 16 s");
    lease.beat(2, &NONCE).await.unwrap();
    assert_eq!(proxy.status(None, peer, &[]).await.0, 200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_get_short_lives_and_new_ones_in_time() {
    let world = world();
    let service = world.start().await;
    let proxy = Proxy::connect(&world).await;
    let mut secrets = proxy.secrets(&["workload/embedder"]).await;
    let first = secrets.certificate().await;
    let (id, seconds) = named(&world, &first);
    assert!(id.ends_with("/workload/embedder") && seconds == 600, "{id} {seconds}");
    assert_eq!(proxy.status(Some("peer"), source(&id, &first), &[]).await.0, 200);
    world.clock.advance(Duration::from_secs(301));
    let second = secrets.certificate().await;
    assert!(first != second && named(&world, &second) == (id.clone(), 600));
    assert_eq!(proxy.status(Some("peer"), source(&id, &first), &[]).await.0, 200, "its key is the same");

    world.device.absent.store(true, Ordering::SeqCst);
    world.clock.advance(Duration::from_mins(16));
    assert_eq!(proxy.status(Some("peer"), source(&id, &second), &[]).await.0, 503);
    let mut more = proxy.secrets(&["ROOTCA", "ward"]).await;
    world.device.absent.store(false, Ordering::SeqCst);
    // The next attempt is due.
    world.clock.advance(Duration::from_mins(1));
    let [root, ward] = more.next().await.unwrap().try_into().unwrap();
    assert!(matches!(ward.r#type, Some(Type::TlsCertificate(_))));
    let Some(Type::ValidationContext(context)) = root.r#type else { unreachable!("no CA") };
    let [name] = context.match_typed_subject_alt_names.try_into().unwrap();
    assert!(id.starts_with(&name.matcher.unwrap().prefix));
    assert!(service_is_recorded(&world));
    service.stop().await;
}

/// Nothing came before the machine was accepted again, and what came is in the audit log.
fn service_is_recorded(world: &World) -> bool {
    let log = std::fs::read_dir(world.path("audit")).unwrap().map(|entry| entry.unwrap().path());
    let text: String = log.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let (open, ward) = (text.rfind("\"event\":\"standing\""), text.find("\"identity\":\"workload/ward\""));
    text.contains("\"identity\":\"workload/embedder\"") && ward.is_some() && open < ward
}

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_of_cubes_own_is_ever_handed_out() {
    let world = world();
    let service = world.start().await;
    let proxy = Proxy::connect(&world).await;
    let (_link, _lease, peer, _) = gateway(&world).await;
    for name in ["gateway", "svc/gateway", &peer.principal, "default", "other", ""] {
        let refused = proxy.secrets(&[name]).await.next().await.unwrap_err();
        assert_eq!(proto::reason_of(&refused).as_deref(), Some(reason::INVALID_REQUEST), "{name}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_proxys_user_may_ask() {
    let world = with_proxy(geteuid().as_raw() + 1);
    let service: Service = world.start().await;
    let link = Link::unix(&world.path("run").join("mesh.sock")).await;
    for path in [
        "/envoy.service.auth.v3.Authorization/Check",
        "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
    ] {
        assert_eq!(link.refusal(path).await.as_deref(), Some(reason::ENROLMENT_WRONG_UID), "{path}");
    }
    service.stop().await;
    let without = World::new();
    let service = without.start().await;
    assert!(!without.path("run").join("mesh.sock").exists());
    service.stop().await;
}
