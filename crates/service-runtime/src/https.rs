//! One HTTP request over a connection of its own, for servers that are asked now and then: a collector of spans,
//! AMD's key server. What they answer is bounded here; how long it may take is the caller's to bound.

use std::{io, net::IpAddr, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri, header,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Bytes of an answer's head, and headers in it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// A server that requests go to.
#[derive(Debug, Clone)]
pub struct Origin {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

/// Why a request got no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// No connection, or one that broke.
    #[error("cannot be reached: {0}")]
    Connection(#[from] io::Error),
    /// Its name cannot stand in a certificate.
    #[error("is no name of a server")]
    Name,
    /// What came is not HTTP, or ended too early.
    #[error("gave no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    /// The body is larger than the caller takes.
    #[error("answers with more than {0} bytes")]
    TooLarge(usize),
    /// The request cannot be written.
    #[error("cannot be asked: {0}")]
    Request(#[from] http::Error),
}

impl Origin {
    /// Where `uri` leads; over TLS by `tls` where it is https.
    pub fn new(uri: &Uri, tls: Arc<ClientConfig>) -> Self {
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Self { host, port, tls: https.then_some(tls) }
    }

    /// Sends `request` over a new connection, and gives the whole answer, of whose body at most `most` bytes are taken.
    /// No redirect is followed.
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
        most: usize,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls.clone() else { return exchange(stream, request, most).await };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| ExchangeError::Name)?;
        exchange(TlsConnector::from(tls).connect(name, stream).await?, request, most).await
    }
}

async fn exchange<IO>(io: IO, request: Request<Bytes>, most: usize) -> Result<Response<Bytes>, ExchangeError>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    let mut answer = pin!(async {
        let (head, body) = sender.send_request(to_send(request)?).await?.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| body_error(error, most))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    });
    tokio::select! {
        answer = &mut answer => answer,
        // What it read before it ended, or why that is not all, is on its way still.
        _ = connection => answer.await,
    }
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>, most: usize) -> ExchangeError {
    if error.is::<LengthLimitError>() {
        return ExchangeError::TooLarge(most);
    }
    error
        .downcast::<hyper::Error>()
        .map_or_else(|other| io::Error::other(other).into(), |error| (*error).into())
}

/// Only the path travels in the request line of HTTP/1.1.
fn to_send(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, http::Error> {
    let (mut head, body) = request.into_parts();
    let host = HeaderValue::from_str(head.uri.authority().map_or("", Authority::as_str))?;
    head.headers.insert(header::HOST, host);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.uri = head.uri.path_and_query().map_or(Uri::from_static("/"), |path| path.clone().into());
    Ok(Request::from_parts(head, Full::new(body)))
}

/// The address of a server that is asked over TLS, or in the clear where that does not leave the machine.
pub fn server_uri(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let scheme = uri.scheme() == Some(&Scheme::HTTPS) || (uri.scheme() == Some(&Scheme::HTTP) && loopback);
    // A password would travel in the request, and stand in the log.
    let anonymous = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (scheme && anonymous).then_some(uri)
}

/// The certificates of a CA file, at least one.
pub fn ca_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("holds no certificate; give the server's CA as PEM".to_owned()),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_goes_over_tls() {
        for good in
            ["https://collector.example:4318/v1/traces", "http://127.0.0.1:4318/v1/traces", "http://[::1]:1/"]
        {
            assert!(server_uri(good).is_some(), "{good}");
        }
        for bad in [
            "http://10.0.0.1:4318/v1/traces",
            "http://collector:4318/",
            "grpc://127.0.0.1:1",
            "https://user:password@collector.example/",
            "127.0.0.1",
            "",
        ] {
            assert!(server_uri(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_ca_file_holds_certificates() {
        assert!(ca_certificates(b"").unwrap_err().contains("no certificate"));
    }
}
