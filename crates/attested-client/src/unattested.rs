//! A connection whose peer has proven nothing yet.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, client::conn::http2::SendRequest, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{CertificateError, ClientConnection, HandshakeKind};
use rustls_pki_types::CertificateDer;
use snp_evidence::{Binder, EXPORTER_LABEL, MAX_BUNDLE};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use crate::{Binding, Error, Offer, ServerTrust, Target, tls};

/// How long a silent peer may keep the connection (HTTP/2 ping, then answer).
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Name lookup, TCP, TLS and HTTP/2 handshakes together. Default 10 s.
    pub connect: Duration,
    /// From the question for a report to the last byte of the bundle. Default 30 s.
    pub report: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), report: Duration::from_secs(30) }
    }
}

/// 32 fresh random bytes.
pub fn fresh_nonce() -> Result<[u8; 32], Error> {
    let mut nonce = [0; 32];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Random)?;
    Ok(nonce)
}

/// An open TLS 1.3 connection whose peer has proven nothing yet.
///
/// It can be asked for one thing: evidence about itself.
#[derive(Debug, Clone)]
pub struct Unattested {
    pub(crate) sender: SendRequest<Body>,
    pub(crate) target: Target,
    limits: Limits,
    exporter: [u8; 32],
    leaf_spki_sha256: [u8; 32],
    /// What the server showed, leaf first.
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
    /// Cancelled where everything on the connection has to end at once.
    pub(crate) cut: CancellationToken,
    /// Cancelled when the connection has ended.
    pub(crate) ended: CancellationToken,
}

impl Unattested {
    /// Connects with a full TLS 1.3 handshake, and derives exporter and leaf key itself.
    pub async fn dial(target: &Target, trust: &ServerTrust, limits: Limits) -> Result<Self, Error> {
        match timeout(limits.connect, connect(target, trust, limits)).await {
            Ok(result) => result,
            Err(_) => Err(unreachable(target, format!("no connection within {:?}", limits.connect))),
        }
    }

    /// Fetches a report on this connection, made for `nonce`, 32 fresh bytes of the caller's own.
    pub async fn ask(mut self, nonce: [u8; 32], binding: Binding) -> Result<Offer, Error> {
        let limit = self.limits.report;
        let bundle = match timeout(limit, self.fetch(nonce, binding)).await {
            Ok(result) => result?,
            Err(_) => return Err(self.no_evidence(format!("no report within {limit:?}"))),
        };
        let listener = snp_evidence::PUBLIC_LISTENER;
        let binder = match binding {
            Binding::TlsExporter => Binder::tls_exporter(self.leaf_spki_sha256, self.exporter, listener),
            Binding::TlsSpki => Binder::tls_spki(self.leaf_spki_sha256, listener),
        };
        Ok(Offer::new(self, bundle, nonce, binder))
    }

    /// SHA-256 of the DER SPKI of the certificate the server showed.
    pub fn leaf_spki_sha256(&self) -> &[u8; 32] {
        &self.leaf_spki_sha256
    }

    /// This connection's exporter value (RFC 9266), as this side derived it.
    pub fn exporter(&self) -> &[u8; 32] {
        &self.exporter
    }

    async fn fetch(&mut self, nonce: [u8; 32], binding: Binding) -> Result<Vec<u8>, Error> {
        let request = self.report_request(nonce, binding)?;
        let sent = self.sender.send_request(request).await;
        let response = sent.map_err(|e| self.no_evidence(format!("the connection failed: {e}")))?;
        let status = response.status();
        let body = self.read(response.into_body()).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(self.no_evidence(describe(status, &body))) }
    }

    fn report_request(&self, nonce: [u8; 32], binding: Binding) -> Result<Request<Body>, Error> {
        let path = format!("/attestation/report?nonce={}&binding={binding}", URL_SAFE_NO_PAD.encode(nonce));
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(self.target.authority().clone());
        let uri = uri.path_and_query(path).build().map_err(|e| self.no_evidence(e.to_string()))?;
        let request = Request::get(uri).header(header::ACCEPT, "application/json");
        request.body(Body::empty()).map_err(|e| self.no_evidence(e.to_string()))
    }

    async fn read(&self, body: Incoming) -> Result<Vec<u8>, Error> {
        match Limited::new(body, MAX_BUNDLE).collect().await {
            Ok(whole) => Ok(whole.to_bytes().into()),
            Err(e) if e.is::<LengthLimitError>() => Err(Error::Protocol {
                target: self.target.to_string(),
                cause: format!("the bundle is over {MAX_BUNDLE} bytes"),
            }),
            Err(e) => Err(self.no_evidence(format!("the answer broke off: {e}"))),
        }
    }

    fn no_evidence(&self, cause: String) -> Error {
        Error::NoEvidence { target: self.target.to_string(), cause }
    }
}

/// A stranger's error body is not shown; only a reason that is one of Cube's.
fn describe(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let known = proto::reason::ALL.iter().find(|reason| text.contains(&format!("\"{}\"", reason.name)));
    known.map_or_else(|| format!("HTTP {status}"), |reason| format!("HTTP {status}, reason {}", reason.name))
}

async fn connect(target: &Target, trust: &ServerTrust, limits: Limits) -> Result<Unattested, Error> {
    let tcp = TcpStream::connect((target.host(), target.port())).await;
    let tcp = tcp.map_err(|e| unreachable(target, format!("TCP: {e}")))?;
    tcp.set_nodelay(true).map_err(|e| unreachable(target, format!("TCP_NODELAY: {e}")))?;
    let tls = handshake(target, trust, tcp).await?;
    let facts = channel_facts(tls.get_ref().1);
    let (exporter, leaf_spki_sha256) = facts.map_err(|cause| unreachable(target, cause))?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default().into();
    let (cut, ended) = (CancellationToken::new(), CancellationToken::new());
    let sender = http2(tls, cut.clone(), ended.clone()).await;
    let sender = sender.map_err(|e| unreachable(target, format!("HTTP/2: {e}")))?;
    Ok(Unattested { sender, target: target.clone(), limits, exporter, leaf_spki_sha256, chain, cut, ended })
}

async fn handshake(
    target: &Target,
    trust: &ServerTrust,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, Error> {
    let name = target.server_name();
    let name = name.ok_or_else(|| unreachable(target, "the host is no server name".to_owned()))?;
    let config = tls::client_config(trust).map_err(|e| unreachable(target, format!("TLS set-up: {e}")))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    stream.map_err(|e| match certificate_problem(&e) {
        Some(problem) => Error::Certificate { target: target.to_string(), cause: format!("{problem:?}") },
        None => unreachable(target, format!("TLS: {e}")),
    })
}

fn unreachable(target: &Target, cause: String) -> Error {
    Error::Unreachable { target: target.to_string(), cause }
}

fn certificate_problem(error: &std::io::Error) -> Option<&CertificateError> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::InvalidCertificate(problem) = error { Some(problem) } else { None }
}

/// Exporter and leaf key, from this side's own view of the connection.
fn channel_facts(tls: &ClientConnection) -> Result<([u8; 32], [u8; 32]), String> {
    if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
        return Err("TLS: the session was resumed".to_owned());
    }
    if tls.alpn_protocol() != Some(b"h2") {
        return Err("TLS: the server does not speak HTTP/2".to_owned());
    }
    let leaf = tls.peer_certificates().and_then(|chain| chain.first()).ok_or("TLS: no certificate")?;
    let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL.as_bytes(), None);
    let exporter = exporter.map_err(|e| format!("TLS exporter: {e}"))?;
    Ok((exporter, tls::spki_sha256(leaf).map_err(|e| format!("TLS certificate: {e}"))?))
}

/// Hyper runs the connection in tasks of its own.
#[derive(Clone)]
struct Cuttable(CancellationToken);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Cuttable {
    fn execute(&self, task: F) {
        let cut = self.0.clone();
        drop(tokio::spawn(async move { cut.run_until_cancelled(task).await }));
    }
}

/// The driver task ends with the connection: at the last handle, at GOAWAY, where a ping stays unanswered, or with `cut`.
async fn http2(
    tls: TlsStream<TcpStream>,
    cut: CancellationToken,
    ended: CancellationToken,
) -> Result<SendRequest<Body>, hyper::Error> {
    let (sender, connection) = hyper::client::conn::http2::Builder::new(Cuttable(cut.clone()))
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .handshake(TokioIo::new(tls))
        .await?;
    tokio::spawn(async move {
        if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
            tracing::debug!(%error, "connection ended");
        }
        ended.cancel();
    });
    Ok(sender)
}
