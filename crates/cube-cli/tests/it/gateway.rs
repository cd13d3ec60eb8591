//! A small gateway: real TCP, real TLS, real HTTP/2, and one way to behave.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use attested_client::{Limits, ServerTrust, Unattested};
use axum::{
    Extension,
    body::Bytes,
    extract::Query,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use proto::inference::v1::{
    inference_service_server::InferenceServiceServer, model_service_server::ModelServiceServer,
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::{
    ServerConfig,
    pki_types::PrivateKeyDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use snp_evidence::{Binder, PUBLIC_LISTENER};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{chat::Model, world::world};

/// What the gateway answers to the question for evidence.
#[derive(Clone)]
pub(crate) enum Behaviour {
    Honest,
    /// Makes reports for a nonce of its own.
    OtherNonce,
    /// Gives every connection the bundle that the first one got.
    Replay(Arc<Mutex<Option<Vec<u8>>>>),
    /// Passes on what the gateway at this address says of *its* connection with us.
    Relay(String),
    /// The manifest lists another key than the one it shows.
    OtherKeyListed,
    /// Changes the honest bundle's bytes.
    Change(fn(Vec<u8>) -> Vec<u8>),
    Status(StatusCode, &'static str),
    /// Accepts the request and never answers.
    Silent,
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    /// The certificate of the CA that issued the gateway's.
    pub(crate) ca_pem: String,
    _task: JoinSet<()>,
}

/// What the server side of one connection knows.
#[derive(Clone)]
struct Facts {
    exporter: [u8; 32],
    spki: Arc<Vec<u8>>,
    behaviour: Behaviour,
}

impl Gateway {
    pub(crate) async fn start(behaviour: Behaviour, model: Model) -> Self {
        Self::with(Identity::honest(), behaviour, model).await
    }

    pub(crate) async fn with(identity: Identity, behaviour: Behaviour, model: Model) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ca_pem = identity.ca_pem.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, identity.clone(), behaviour.clone(), model));
            }
        });
        Self { address, ca_pem, _task: task }
    }

    pub(crate) async fn behaving(behaviour: Behaviour) -> Self {
        Self::start(behaviour, Model::Speaks).await
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

/// What the gateway shows in the handshake.
#[derive(Clone)]
pub(crate) struct Identity {
    acceptor: TlsAcceptor,
    spki: Arc<Vec<u8>>,
    ca_pem: String,
}

impl Identity {
    pub(crate) fn honest() -> Self {
        let key = KeyPair::generate().unwrap();
        Self::new(&key, &key, b"h2")
    }

    /// Shows a certificate whose key it does not hold.
    pub(crate) fn stolen() -> Self {
        Self::new(&KeyPair::generate().unwrap(), &KeyPair::generate().unwrap(), b"h2")
    }

    pub(crate) fn without_http2() -> Self {
        let key = KeyPair::generate().unwrap();
        Self::new(&key, &key, b"")
    }

    fn new(key: &KeyPair, held: &KeyPair, alpn: &[u8]) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(key, &issuer).unwrap();
        let private = PrivateKeyDer::Pkcs8(held.serialize_der().into());
        let private = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private).unwrap();
        let shown = CertifiedKey::new(vec![leaf.der().clone()], private);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        config.alpn_protocols.extend((!alpn.is_empty()).then(|| alpn.to_vec()));
        let spki = Arc::new(key.subject_public_key_info());
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), spki, ca_pem }
    }
}

async fn serve(stream: tokio::net::TcpStream, identity: Identity, behaviour: Behaviour, model: Model) {
    let Ok(tls) = identity.acceptor.accept(stream).await else { return };
    let connection = tls.get_ref().1;
    let exporter = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None).unwrap();
    let facts = Facts { exporter, spki: identity.spki.clone(), behaviour };
    let router = tonic::service::Routes::new(InferenceServiceServer::new(model))
        .add_service(ModelServiceServer::new(model))
        .into_axum_router()
        .route("/attestation/report", get(report))
        .route("/v1/echo", any(echo))
        .route("/v1/broken", any(broken))
        .route("/v1/endless", any(endless))
        .layer(Extension(facts));
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(tls), TowerToHyperService::new(router));
    // The client ends the connection; how is its own matter.
    drop(serving.await);
}

#[derive(serde::Deserialize)]
struct Question {
    nonce: String,
    binding: String,
}

async fn report(Extension(facts): Extension<Facts>, Query(question): Query<Question>) -> Response {
    let nonce = URL_SAFE_NO_PAD.decode(&question.nonce).unwrap().try_into().unwrap();
    let honest = facts.bundle(nonce, &question.binding, &facts.spki);
    let bundle = match &facts.behaviour {
        Behaviour::Honest => honest,
        Behaviour::OtherNonce => facts.bundle([9; 32], &question.binding, &facts.spki),
        Behaviour::Replay(first) => first.lock().unwrap().get_or_insert(honest).clone(),
        Behaviour::OtherKeyListed => {
            let other = KeyPair::generate().unwrap().subject_public_key_info();
            facts.bundle(nonce, &question.binding, &other)
        }
        Behaviour::Relay(url) => {
            let (target, trust) = (url.parse().unwrap(), ServerTrust::EvidenceAlone);
            let there = Unattested::dial(&target, &trust, Limits::default()).await.unwrap();
            let offer = there.ask(nonce, question.binding.parse().unwrap()).await.unwrap();
            offer.bundle().to_vec()
        }
        Behaviour::Change(change) => change(honest),
        Behaviour::Status(status, body) => return (*status, *body).into_response(),
        Behaviour::Silent => std::future::pending().await,
    };
    Bytes::from(bundle).into_response()
}

/// What has arrived: method, headers and body.
async fn echo(request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let headers: Vec<_> = parts.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    let text = format!(
        "{} {}\n{}\n\n{}",
        parts.method,
        parts.uri,
        headers.join("\n"),
        String::from_utf8_lossy(&body)
    );
    ([("connection-less", "1"), ("content-type", "text/plain")], text).into_response()
}

/// A piece, and a failure as soon as [`BREAK`] is told.
async fn broken() -> Response {
    let failure = async {
        BREAK.notified().await;
        Err(std::io::Error::other("broken"))
    };
    let pieces = stream::iter([Ok("a piece")]).chain(stream::once(failure));
    axum::body::Body::from_stream(pieces).into_response()
}

/// That the piece of [`broken`] has come.
pub(crate) static BREAK: Notify = Notify::const_new();

/// A piece, and then silence; [`LEFT`] is told when nobody waits for more.
async fn endless() -> Response {
    struct Told;
    impl Drop for Told {
        fn drop(&mut self) {
            LEFT.notify_one();
        }
    }
    let told = Told;
    let pieces = stream::iter([Ok::<_, std::io::Error>("a piece")]).chain(stream::pending());
    let pieces = pieces.map(move |piece| {
        let _told = &told;
        piece
    });
    axum::body::Body::from_stream(pieces).into_response()
}

/// Somebody left [`endless`].
pub(crate) static LEFT: Notify = Notify::const_new();

impl Facts {
    fn bundle(&self, nonce: [u8; 32], binding: &str, listed: &[u8]) -> Vec<u8> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.spki);
        let leaf = digest.as_ref().try_into().unwrap();
        let binder = match binding {
            "tls-exporter" => Binder::tls_exporter(leaf, self.exporter, PUBLIC_LISTENER),
            "tls-spki" => Binder::tls_spki(leaf, PUBLIC_LISTENER),
            other => panic!("binding {other}"),
        };
        world().bundle(nonce, &binder, listed)
    }
}
