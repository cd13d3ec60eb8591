//! The way to an OTLP/HTTP collector: one request, one connection, TLS by the configured CA.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// For one export as a whole.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a collector's answer.
const MAX_ANSWER: usize = 64 * 1024;

/// A collector.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    /// The exporter has a thread of its own, outside the runtime.
    runtime: Handle,
}

type Answer = Result<Response<Bytes>, HttpError>;

impl Collector {
    /// At `endpoint`; over TLS by `ca` where it is https.
    pub(super) fn new(endpoint: &Uri, ca: &[CertificateDer<'static>]) -> Result<Self, String> {
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let https = endpoint.scheme_str() == Some("https");
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = endpoint.port_u16().unwrap_or(if https { 443 } else { 80 });
        let tls = if https { Some(Arc::new(client_config(ca)?)) } else { None };
        Ok(Self { host, port, tls, runtime })
    }

    async fn exchange(self, request: Request<Bytes>) -> Answer {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls else { return exchange(stream, request).await };
        let name = ServerName::try_from(self.host)?;
        exchange(TlsConnector::from(tls).connect(name, stream).await?, request).await
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let collector = self.clone();
        // Here is no runtime, so its timer is made there.
        let exchange = self.runtime.spawn(async { timeout(LIMIT, collector.exchange(request)).await? });
        Box::pin(async { exchange.await? })
    }
}

async fn exchange<IO>(io: IO, request: Request<Bytes>) -> Answer
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answer = async {
        let (head, body) = sender.send_request(to_send(request)?).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into(), Into::into)),
    }
}

/// Only the path travels in the request line of HTTP/1.1.
fn to_send(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host)?;
    head.headers.insert(header::HOST, host);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.uri = head.uri.path_and_query().map_or(Uri::from_static("/"), |path| path.clone().into());
    Ok(Request::from_parts(head, Full::new(body)))
}

fn client_config(ca: &[CertificateDer<'static>]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone()).map_err(|error| format!("traces.otlp_ca: {error}"))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
