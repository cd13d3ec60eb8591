//! Whoever calls a workload: with what secret discovery hands out, or with a certificate of its own.

use std::{net::SocketAddr, path::Path, sync::Arc};

use futures_util::stream;
use http::{Request, Response, Uri};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use proto::envoy::secret::{
    DiscoveryRequest, Secret, secret::Type, secret_discovery_service_client::SecretDiscoveryServiceClient,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    server::ParsedCertificate,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::watch,
};
use tokio_rustls::TlsConnector;
use tonic::{Status, body::Body};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::util::BoxCloneService;

pub(crate) type Channel = BoxCloneService<Request<Body>, Response<Incoming>, hyper::Error>;

/// Whom to believe, and what to show.
#[derive(Clone)]
pub(crate) struct Secrets {
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) own: Arc<CertifiedKey>,
}

/// HTTP/2 over `io`.
async fn channel(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Channel, String> {
    let handshake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(io)).await;
    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(BoxCloneService::new(tower::service_fn(move |request| sender.clone().send_request(request))))
}

/// The channel of a unix socket.
pub(crate) async fn unix(socket: &Path) -> Channel {
    channel(UnixStream::connect(socket).await.unwrap()).await.unwrap()
}

pub(crate) fn origin() -> Uri {
    Uri::from_static("https://workload")
}

/// The newest secrets of the workload `name`, for as long as attestation-svc lives.
pub(crate) async fn subscribe(socket: &Path, name: &str) -> watch::Receiver<Option<Secrets>> {
    let resource_names = vec!["ROOTCA".to_owned(), format!("workload/{name}")];
    let request = DiscoveryRequest { resource_names, ..DiscoveryRequest::default() };
    let mut client = SecretDiscoveryServiceClient::with_origin(unix(socket).await, origin());
    let open = futures_util::StreamExt::chain(stream::iter([request]), stream::pending());
    let mut answers = client.stream_secrets(open).await.unwrap().into_inner();
    let (told, secrets) = watch::channel(None);
    tokio::spawn(async move {
        while let Ok(Some(answer)) = answers.message().await {
            let read = answer.resources.iter().map(|any| Secret::decode(any.value.as_slice()).unwrap());
            told.send_replace(secrets_of(&read.collect::<Vec<_>>()));
        }
    });
    let mut first = secrets.clone();
    first.wait_for(Option::is_some).await.unwrap();
    secrets
}

fn secrets_of(secrets: &[Secret]) -> Option<Secrets> {
    let (mut roots, mut own) = (Vec::new(), None);
    for secret in secrets {
        match secret.r#type.as_ref()? {
            Type::ValidationContext(context) => {
                let pem = &context.trusted_ca.as_ref()?.inline_bytes;
                roots = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
            }
            Type::TlsCertificate(tls) => {
                let leaf =
                    CertificateDer::from_pem_slice(&tls.certificate_chain.as_ref()?.inline_bytes).ok()?;
                let key = PrivateKeyDer::from_pem_slice(&tls.private_key.as_ref()?.inline_bytes).ok()?;
                let key = aws_lc_rs::sign::any_supported_type(&key).ok()?;
                own = Some(Arc::new(CertifiedKey::new(vec![leaf], key)));
            }
        }
    }
    Some(Secrets { roots, own: own? })
}

/// A new connection; `None` shows no certificate.
pub(crate) async fn connect(
    to: SocketAddr,
    roots: &[CertificateDer<'static>],
    own: Option<&Arc<CertifiedKey>>,
) -> Result<Channel, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OfTheCvm { roots: store, provider }));
    let mut config = match own {
        Some(own) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((**own).clone()))),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(mtls::no_name(), stream).await;
    channel(stream.map_err(|error| error.to_string())?).await
}

/// What the workload says to one request on a new connection; an error of the connection as its text.
pub(crate) async fn call(
    to: SocketAddr,
    roots: &[CertificateDer<'static>],
    own: Option<&Arc<CertifiedKey>>,
    header: Option<(&'static str, &str)>,
) -> Result<i32, Status> {
    let channel = connect(to, roots, own).await.map_err(|error| Status::unknown(error.clone()))?;
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    if let Some((name, value)) = header {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let answer = HealthClient::with_origin(channel, origin()).check(request).await?;
    Ok(answer.into_inner().status)
}

/// A server of this CVM, whatever it is called: SVIDs have no DNS names.
#[derive(Debug)]
struct OfTheCvm {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfTheCvm {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
