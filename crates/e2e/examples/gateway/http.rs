//! A client as OpenAI's SDKs are: one kept HTTP/1.1 connection, one answer after the other.

use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    Outcome,
    way::{Socket, since, whole},
};

const REQUEST: &str =
    r#"{"model":"bench","stream":true,"messages":[{"role":"user","content":"What is gravity?"}]}"#;

const UNARY: &str =
    r#"{"model":"bench","stream":false,"messages":[{"role":"user","content":"What is gravity?"}]}"#;

/// One connection.
pub(crate) struct Http {
    send: http1::SendRequest<Full<Bytes>>,
    started: Instant,
}

impl Http {
    pub(crate) async fn connect(to: &Socket, started: Instant) -> Outcome<Self> {
        let stream = TcpStream::connect(to.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &to.tls else { return Self::over(stream, started).await };
        let name = ServerName::IpAddress(to.address.ip().into());
        Self::over(TlsConnector::from(tls.clone()).connect(name, stream).await?, started).await
    }

    async fn over<S>(stream: S, started: Instant) -> Outcome<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { send, started })
    }

    /// One answer that is not streamed, in microseconds.
    pub(crate) async fn unary(&mut self) -> Outcome<f64> {
        let begun = Instant::now();
        let answer = self.ask(UNARY).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        let whole = body.starts_with(b"{") && body.ends_with(b"}");
        if whole { Ok(since(begun)) } else { Err("an answer that is cut".into()) }
    }

    async fn ask(&mut self, body: &'static str) -> Outcome<Response<Incoming>> {
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        self.send.ready().await?;
        let answer = self.send.send_request(request).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)).into())
    }

    /// One stream to its proper end; anything else is an error. The delays of its pieces, in microseconds.
    pub(crate) async fn stream(&mut self) -> Outcome<Vec<f64>> {
        let answer = self.ask(REQUEST).await?;
        let (mut body, mut reading) = (answer.into_body(), Reading::default());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                reading.take(&data, since(self.started))?;
            }
        }
        reading.end()
    }
}

/// The events so far.
#[derive(Default)]
struct Reading {
    rest: String,
    delays: Vec<f64>,
    done: bool,
}

impl Reading {
    fn take(&mut self, data: &[u8], now: f64) -> Outcome<()> {
        self.rest.push_str(std::str::from_utf8(data)?);
        while let Some((event, rest)) = self.rest.split_once("\n\n") {
            self.done |= event == "data: [DONE]";
            if let Some(made) = made(event) {
                self.delays.push(now - made / 1e3);
            }
            self.rest = rest.to_owned();
        }
        Ok(())
    }

    fn end(self) -> Outcome<Vec<f64>> {
        if self.done { whole(self.delays) } else { Err("a stream without its end".into()) }
    }
}

/// When the piece in `event` was made, in nanoseconds; `None` where it holds no text.
fn made(event: &str) -> Option<f64> {
    let (_, text) = event.split_once("\"content\":\"")?;
    text.split_once(' ')?.0.parse().ok()
}
